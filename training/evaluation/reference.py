"""The real side of a comparison: what a judge sees in every training image, looked at once and kept."""

import io
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from models.strict import StrictModel
from training.console import console
from training.data.cache import FEATURES_ENDING, evict, judges_folder, mark_in_use
from training.data.dataset import TrainingImages
from training.errors import TrainingError
from training.evaluation.judge.network import FEATURES, Judge
from training.evaluation.judge.train import fit_and_holdout
from training.evaluation.metrics.moments import Moments
from training.evaluation.metrics.neighbours import nearest_training_images
from training.files import write_atomic

METHOD = 1
"""Counts up whenever a measure changes its meaning, so that no kept floor outlives the measure it is for."""

HELD_OUT = 2_000
"""Real images, and generated ones, whose nearest training image is looked for."""

_BATCH = 500


class Bounds(StrictModel):
    """What real images and noise score, by metric: the scale on which a score has a meaning."""

    floor: dict[str, float]
    floor_samples: int
    """As many as were asked for, or as many as half B has."""
    ceiling: dict[str, float]
    asked: tuple[int, ...]
    """Per label, how many of the real images have it; empty where the judge does not know the data's labels."""
    seen: tuple[int, ...]
    """Per label, in how many of those the judge sees it."""


class Reference:
    """A data set in the eyes of a judge.

    Half A, from which judges learn, is what generated images are compared with; half B, which none has seen, stands
    for a perfect generator and gives the floor.
    """

    def __init__(self, data: TrainingImages, judge: Judge) -> None:
        """Looks at every image if nobody has before. Raises ``TrainingError`` if the judge knows other images."""
        judge.check_size(*data.images.shape[1:])
        self.data, self.judge = data, judge
        self._a, self._b = fit_and_holdout(len(data))
        if len(self._a) <= FEATURES:
            raise TrainingError(
                f"{data.name} holds {len(data)} images; to be compared with on {FEATURES} features it needs at least "
                f"{2 * (FEATURES + 1)}"
            )
        self._key = f"{data.fingerprint}-{judge.record.sha256[:16]}"
        # Rows in the order of the halves: A, then B.
        self._features: NDArray[np.float32] = _kept(judges_folder() / f"{self._key}{FEATURES_ENDING}", self._extract)

    @property
    def real_features(self) -> NDArray[np.float32]:
        """float32 [|A|, FEATURES], in random order, mapped from disk."""
        return self._features[: len(self._a)]

    @property
    def held_out(self) -> int:
        """The number of images in half B."""
        return len(self._b)

    @cached_property
    def moments(self) -> Moments:
        """Of half A."""
        moments = Moments(FEATURES)
        for first in range(0, len(self._a), 10_000):
            moments.add(self.real_features[first : first + 10_000])
        return moments

    @cached_property
    def held_out_distances(self) -> Tensor:
        """From images of half B to their nearest in half A, in features."""
        queries = self._features[len(self._a) : len(self._a) + HELD_OUT]
        return nearest_training_images(queries, self.real_features)[0]

    def real_images(self, count: int) -> NDArray[np.uint8]:
        """At most ``count`` random images of half A, uint8 [N, H, W, C]."""
        return self.data.images[self._a[:count]]

    def nearest_images(self, features: NDArray[np.float32]) -> NDArray[np.uint8]:
        """For features [N, FEATURES] the training images nearest to them, uint8 [N, H, W, C], out of both halves."""
        rows = nearest_training_images(features, self._features)[1].cpu().numpy()
        images: NDArray[np.uint8] = self.data.images[np.concatenate([self._a, self._b])[rows]]
        return images

    def held_out_batches(self, count: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64] | None]]:
        """At most ``count`` images of half B and their labels, in batches."""
        for indices in _cut(self._b[:count]):
            yield self.data.images[indices], None if self.data.labels is None else self.data.labels[indices]

    def noise_batches(self, count: int) -> Iterator[tuple[NDArray[np.uint8], None]]:
        """``count`` images of uniform noise, always the same."""
        random = np.random.RandomState(0)
        for indices in _cut(np.arange(count)):
            yield random.randint(0, 256, (len(indices), *self.data.images.shape[1:]), np.uint8), None

    def bounds(self, kind: str, count: int, measure: Callable[[], Bounds]) -> Bounds:
        """The bounds of a kind of measurement of ``count`` images: kept from before, or measured now and kept."""
        path = self._path(f"{kind}-{count}-{METHOD}.json")
        if not path.is_file():
            write_atomic(path, measure().model_dump_json().encode())
        return Bounds.model_validate_json(path.read_bytes())

    def _extract(self) -> NDArray[np.float32]:
        features = np.empty((len(self.data), FEATURES), np.float32)
        order = np.concatenate([self._a, self._b])
        steps = list(enumerate(_cut(order)))
        for step, indices in track(steps, "Looking at real images", console=console, disable=not console.is_terminal):
            first = step * _BATCH
            features[first : first + len(indices)] = self.judge(self.data.images[indices])[0]
        return features

    def _path(self, name: str) -> Path:
        return judges_folder() / f"{self._key}-{name}"


def _cut(indices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for first in range(0, len(indices), _BATCH):
        yield indices[first : first + _BATCH]


def _kept(path: Path, make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    if not mark_in_use(path):
        content = io.BytesIO()
        np.save(content, make())
        write_atomic(path, content.getvalue())
        mark_in_use(path)
        evict()
    kept: NDArray[np.float32] = np.load(path, mmap_mode="r")
    return kept
