"""64 images in one request, against bare ONNX Runtime and the bare encoder on the same cores, in turns.

Drawing the noise is measured alone too, since a seed means one stream of numbers, which must be drawn. It has one
thread, for NumPy holds the interpreter's lock for most of it.
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
_CONNECTIONS = 3  # one in the device, one at the encoders, one on its way
_ACCEPT = {NPY: NPY.media_type, **dict.fromkeys(IMAGE_FORMATS, "application/zip")}


def measure(home: Path, smoke: bool) -> list[dict[str, Any]]:
    """Prints the table and returns its rows: images a second, medians, and the median of each pair's ratio."""
    rounds, seconds = (1, 1) if smoke else (3, 2)
    rows: list[dict[str, Any]] = []
    print(f"\n{IMAGES} images a request: images a second, and the ratio to the slower of ONNX Runtime and the encoder")
    print("model  format  runtime/s  encoder/s    noise/s    ours/s  ratio")
    with figment(home / "zoo", home / "ours") as ours:
        for model in ("tiny",) if smoke else ("tiny", "g32"):
            session = open_session(str(home / "zoo" / model / "1" / "generator.onnx"), usable_cores())
            given = feed(list(range(IMAGES)), NOISE_DIM)
            images = session.run(None, given)[0]
            run = partial(session.run, None, given)
            for file_format, accept in _ACCEPT.items():
                body = f'{{"model":"{model}","count":{IMAGES},"format":"{file_format.name}"}}'
                readings = []
                for _ in range(rounds):
                    runtime = _pace(run, 1, seconds)
                    encoder = _pace(partial(_encode_all, images, file_format), usable_cores(), seconds)
                    noise = _pace(partial(noise_for_seeds, range(IMAGES), NOISE_DIM), 1, seconds)
                    reading = closed_loop(ours, "/generate", body, _CONNECTIONS, seconds, accept)
                    readings.append((runtime, encoder, noise, reading.requests_per_second * IMAGES))
                runtime, encoder, noise, mine = (statistics.median(column) for column in zip(*readings, strict=True))
                ratio = statistics.median(one[3] / min(one[0], one[1]) for one in readings)
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
                paces = f"{runtime:10.0f} {encoder:10.0f} {noise:10.0f} {mine:9.0f}"
                print(f"{model:6} {file_format.name:6} {paces} {ratio:6.2f}", flush=True)
    return rows


def _encode_all(images: Any, file_format: ImageFormat) -> None:
    assert file_format.encode is not None
    for pixels in images:
        file_format.encode(pixels, DEFAULT_QUALITY, {})


def _pace(work: Callable[[], object], threads: int, seconds: float) -> float:
    """Images a second, with ``work`` making 64 of them in each of the threads again and again."""
    end = time.monotonic() + seconds

    def again() -> int:
        times = 0
        while time.monotonic() < end:
            work()
            times += 1
        return times

    work()
    began = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        times = sum(future.result() for future in [pool.submit(again) for _ in range(threads)])
    return times * IMAGES / (time.monotonic() - began)
