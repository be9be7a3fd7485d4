"""Compares a bundle's graph with the generator that it comes from: image by image, alone and in batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.noise import noise_for_seeds
from models.transparency import premultiply
from training.errors import TrainingError
from training.packing.outputs import to_pixels
from training.packing.plan import Plan, own_feed
from training.packing.running import Feed, Runner

Precision = Literal["fp32", "fp16"]

BATCHES = (1, 2, 3, 7, 16)
"""The batch sizes that are compared."""
_LARGE = 256 * 256
"""Pixels above which images are compared in batches of up to 3: a batch of 16 takes gigabytes."""

MAX_DIFFERENCE: dict[Precision, int] = {"fp32": 1, "fp16": 2}
"""Largest allowed difference between a pixel of the bundle's graph and the original's, in steps of 255."""

RunOriginal = Callable[[Feed], Mapping[str, NDArray[Any]]]
"""Runs the original generator: its own inputs by name → its outputs by name."""


@dataclass(frozen=True)
class Samples:
    """What some images are generated from, and the images that the original generates, each of them alone."""

    noise: NDArray[np.float32]
    label: NDArray[np.int64] | None
    truncation: NDArray[np.float32]
    images: NDArray[np.uint8]


class MixedBatchError(TrainingError):
    """The graph ran, but images were others than alone."""


def batch_sizes(plan: Plan) -> tuple[int, ...]:
    """Returns the batch sizes to compare."""
    if plan.batch is not None:
        return (plan.batch,)
    image = plan.output.image
    return BATCHES[:3] if image.height * image.width > _LARGE else BATCHES


def sample_original(run: RunOriginal, plan: Plan, own_batch: int, count: int) -> Samples:
    """Returns ``count`` images of the original generator, each generated alone.

    Truncation runs from 0 to 1, so the comparison covers it. An original with a fixed batch gets one image
    ``own_batch`` times.
    """
    noise = noise_for_seeds(range(count), plan.inputs.noise.size)
    labels = len(plan.labels or ())
    label = np.arange(count, dtype=np.int64) % labels if labels else None
    truncation = np.resize(np.linspace(1, 0, 5, dtype=np.float32), count)
    images = []
    for index in range(count):
        rows = np.full(own_batch, index)
        feed = own_feed(
            plan.inputs,
            plan.layer_noise,
            noise[rows],
            None if label is None else label[rows],
            labels,
            np.maximum(truncation[rows], np.float32(plan.least_truncation)),
        )
        images.append(to_pixels(run(feed)[plan.output.name], plan.output)[:1])
    return Samples(noise, label, truncation, np.concatenate(images))


def compare(graph: bytes, samples: Samples, sizes: Sequence[int], allowed: int) -> int:
    """Returns the largest difference of a pixel between a bundle's graph, in batches, and the original's single images.

    Raises ``MixedBatchError`` if it is larger than allowed, ``TrainingError`` if the graph cannot run.
    """
    runner = Runner(graph)
    largest = 0
    for size in sizes:
        for start in range(0, len(samples.noise), size):
            rows = np.arange(start, start + size) % len(samples.noise)
            label = None if samples.label is None else samples.label[rows]
            images = run_bundle(runner, samples.noise[rows], label, samples.truncation[rows])
            largest = max(largest, difference(images, samples.images[rows]))
            if largest > allowed:
                raise MixedBatchError(
                    f"in a batch of {size}, an image differs from the same image alone by {largest} of 255, and "
                    f"{allowed} is allowed"
                )
    return largest


def run_bundle(
    runner: Runner,
    noise: NDArray[np.float32],
    label: NDArray[np.int64] | None,
    truncation: NDArray[np.float32],
) -> NDArray[np.uint8]:
    """Returns the images of a bundle's graph, uint8 [N, H, W, C]."""
    feed: Feed = {"noise": noise, "truncation": truncation} | ({} if label is None else {"label": label})
    return runner.run(feed)["images"]


def difference(images: NDArray[np.uint8], expected: NDArray[np.uint8]) -> int:
    """Returns the largest difference of a pixel, as it is seen: colours under a low alpha may differ more."""
    seen, wanted = (premultiply(pixels).astype(np.int16) for pixels in (images, expected))
    return int(np.abs(seen - wanted).max())
