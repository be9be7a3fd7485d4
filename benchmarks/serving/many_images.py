"""Compares 64 images in one request with bare ONNX Runtime and the bare encoder on the same cores, in turns.

Also measures the drawing of noise, which every seed needs. It uses one thread, since NumPy holds the GIL for most of
the time.
"""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.serving.generators import NOISE_DIM
from benchmarks.serving.limit import feed, open_session
from benchmarks.serving.load import closed_loop
from benchmarks.serving.servers import figment
from models.noise import noise_for_seeds
from serving.config.cores import usable_cores
from serving.encoding.formats import DEFAULT_QUALITY, IMAGE_FORMATS, NPY, ImageFormat

IMAGES = 64
_CONNECTIONS = 3  # one request on the device, one in the encoder, one on the network
_ACCEPT = {NPY: NPY.media_type, **dict.fromkeys(IMAGE_FORMATS, "application/zip")}


def measure(home: Path, smoke: bool) -> list[dict[str, Any]]:
    """Prints the table and returns its rows: median images a second, and the median ratio of each pair."""
    rounds, seconds = (1, 1) if smoke else (3, 2)
    rows: list[dict[str, Any]] = []
    print(f"\n{IMAGES} images a request: images a second, and the ratio to the slower of ONNX Runtime and the encoder")
    print("model  format  runtime/s  encoder/s    noise/s    ours/s  ratio")
    with figment(home / "zoo", home / "ours") as ours:
        for model in ("tiny",) if smoke else ("tiny", "g32"):
            session = open_session(str(home / "zoo" / model / "1" / "generator.onnx"), usable_cores())
            inputs = feed(list(range(IMAGES)), NOISE_DIM)
            images = session.run(None, inputs)[0]
            run = partial(session.run, None, inputs)
            for file_format, accept in _ACCEPT.items():
                body = f'{{"model":"{model}","count":{IMAGES},"format":"{file_format.name}"}}'
                readings = []
                for _ in range(rounds):
                    runtime = _images_per_second(run, 1, seconds)
                    encoder = _images_per_second(partial(_encode_all, images, file_format), usable_cores(), seconds)
                    noise = _images_per_second(partial(noise_for_seeds, range(IMAGES), NOISE_DIM), 1, seconds)
                    result = closed_loop(ours, "/generate", body, _CONNECTIONS, seconds, accept)
                    readings.append((runtime, encoder, noise, result.requests_per_second * IMAGES))
                runtime, encoder, noise, mine = (statistics.median(column) for column in zip(*readings, strict=True))
                ratio = statistics.median(reading[3] / min(reading[0], reading[1]) for reading in readings)
                rows.append(
                    {
                        "model": model,
                        "format": file_format.name,
                        "runtime_images_per_second": runtime,
                        "encoder_images_per_second": encoder,
                        "noise_images_per_second": noise,
                        "images_per_second": mine,
                        "ratio": ratio,
                    }
                )
                rates = f"{runtime:10.0f} {encoder:10.0f} {noise:10.0f} {mine:9.0f}"
                print(f"{model:6} {file_format.name:6} {rates} {ratio:6.2f}", flush=True)
    return rows


def _encode_all(images: Any, file_format: ImageFormat) -> None:
    assert file_format.encode is not None
    for pixels in images:
        file_format.encode(pixels, DEFAULT_QUALITY, {})


def _images_per_second(work: Callable[[], object], threads: int, seconds: float) -> float:
    """Returns images a second, while each thread repeats ``work``, which handles 64 images."""
    end = time.monotonic() + seconds

    def repeat() -> int:
        times = 0
        while time.monotonic() < end:
            work()
            times += 1
        return times

    work()
    started = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        times = sum(future.result() for future in [pool.submit(repeat) for _ in range(threads)])
    return times * IMAGES / (time.monotonic() - started)
