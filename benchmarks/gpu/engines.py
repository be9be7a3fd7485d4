"""Opens bundles as the service does, and measures and compares their images."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.gpu.rows import SkippedError
from benchmarks.gpu.target import Target
from models.bundle import Bundle, Card, read_bundle
from models.find import find_bundles
from models.noise import labels_for_seeds, noise_for_seeds
from models.transparency import premultiply
from serving.config.cores import usable_cores
from serving.inference.device import CUDA, Devices, Hardware
from serving.inference.engine import Engine, Images, Inputs, open_engine

ZOO = Path(__file__).parents[2] / "models" / "zoo"
MAX_DIFFERENCE = {"fp32": 1, "fp16": 2}
"""Precision → the largest allowed difference between devices, in steps of 255."""


def shipped_bundles() -> list[Bundle]:
    """Returns every bundle of ``models/zoo``."""
    return [read_bundle(folder) for folder in find_bundles(ZOO).folders]


def require_provider(target: Target) -> None:
    """Raises ``SkippedError`` if this ONNX Runtime is not built for the target, or is missing."""
    import onnxruntime

    if target.device == "cuda" and CUDA not in onnxruntime.get_available_providers():
        raise SkippedError(
            f"needs onnxruntime-gpu; this is onnxruntime {onnxruntime.__version__} for the CPU: "
            "pip uninstall onnxruntime, then pip install -c constraints.txt 'onnxruntime-gpu[cuda,cudnn]'"
        )


def open_on(device: str, bundle: Bundle, max_batch: int, cuda_graphs: bool = False) -> Engine:
    """Opens a bundle as the service does with this ``FIGMENT_DEVICE``. Raises ``DeviceError``."""
    return open_engine(bundle, Devices(device, Hardware(usable_cores(), cuda_graphs=cuda_graphs)), max_batch)


def inputs_for(card: Card, seeds: Sequence[int]) -> Inputs:
    """Returns the inputs of seeds with their own labels. Every second image is truncated to 0.7."""
    label = labels_for_seeds(seeds, card.num_labels) if card.labels else None
    truncation = np.where(np.arange(len(seeds)) % 2, 0.7, 1).astype(np.float32)
    return Inputs(noise_for_seeds(seeds, card.noise_dim), label, truncation)


def generate(engine: Engine, inputs: Inputs, size: int) -> Images:
    """Returns all images, generated in batches of ``size``."""
    starts = range(0, len(inputs), size)
    return np.concatenate([engine.run(engine.pad([inputs.part(start, start + size)])) for start in starts])


def difference(images: Images, others: Images) -> int:
    """Returns the largest difference of a pixel as it is seen (RGBA: premultiplied), in steps of 255."""
    one, two = (premultiply(pixels).astype(np.int16) for pixels in (images, others))
    return int(np.abs(one - two).max())


def name_of(bundle: Bundle) -> str:
    """Returns ``NAME/VERSION``."""
    return f"{bundle.card.name}/{bundle.card.version}"


def batch_runner(engine: Engine, size: int) -> Callable[[], object]:
    """Returns a function that runs one batch of this size."""
    batch = engine.pad([inputs_for(engine.card, range(size))])
    return lambda: engine.run(batch, device_idle=True)


def seconds_per_run(run: Callable[[], object], seconds: float) -> float:
    """Returns the mean time of a call, measured for about ``seconds``."""
    run()
    count, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        run()
        count += 1
    return passed / count


def list_speeds(by_size: Mapping[int, float]) -> str:
    """Returns images per second by batch size, in words."""
    return " · ".join(f"{size}: {speed:,.0f}" for size, speed in by_size.items())
