"""The real side of a comparison: the judge's features of every image and of its mirror, computed once and cached."""

import hashlib
import io
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from models.strict import StrictModel
from models.transparency import premultiply
from training.console import console, stage
from training.data import split
from training.data.cache import FEATURES_ENDING, evict, judges_folder, mark_in_use
from training.data.dataset import TrainingImages
from training.data.split import judge_split
from training.errors import TrainingError
from training.evaluation.judge.network import FEATURES, Judge
from training.evaluation.metrics.moments import Moments
from training.evaluation.metrics.neighbours import nearest_training_images
from training.evaluation.metrics.table import HELD_OUT, NEIGHBOURS, SLICED
from training.files import write_atomic

_BATCH = 500


class Baselines(StrictModel):
    """The scores of real images and of noise, by metric: the scale on which a generator's score is read."""

    real_baseline: dict[str, float]
    real_samples: int
    """The number of images behind the real baseline, and behind each value that is read on it."""
    noise_baseline: dict[str, float]
    labelled: tuple[int, ...] = ()
    """Real images per label; empty if the judge does not know the data's labels."""
    recognised: tuple[int, ...] = ()
    """Of those, the images in which the judge sees their label."""


class Reference:
    """A data set as a judge sees it.

    Generated images are compared with the fit split, which judges learn from. The unseen split, which no judge has
    seen, stands in for a perfect generator and gives the real baseline. Its first images may be held out: the generator
    has not seen them, either. Only they tell how near to a training image an image lies that is no copy.
    """

    def __init__(self, data: TrainingImages, judge: Judge, held_out: int = 0) -> None:
        """Computes the features of every image unless they are cached.

        ``held_out`` images were hidden from the generator, which was trained on all others. Raises ``TrainingError``
        if the judge knows images of another size, or there are too few images.
        """
        judge.check_size(*data.images.shape[1:])
        self.data, self.judge = data, judge
        self._fit, self._unseen = judge_split(len(data))
        self._order = np.concatenate([self._fit, self._unseen])
        self._held_out = slice(len(self._fit), len(self._fit) + held_out)
        """Rows of the features."""
        if len(self._fit) <= FEATURES:
            raise TrainingError(
                f"{data.name} holds {len(data)} images; a comparison on {FEATURES} features needs at least "
                f"{2 * (FEATURES + 1)}"
            )
        self._key = f"{data.fingerprint}-{judge.record.sha256[:16]}"
        # Rows in the order of the splits: fit, then unseen.
        self._features: NDArray[np.float32] = cached_features(
            judges_folder() / f"{self._key}{FEATURES_ENDING}", self._compute_features
        )

    @property
    def real_features(self) -> NDArray[np.float32]:
        """Features of the fit split, float32 [N, FEATURES], in random order, mapped from disk."""
        return self._features[: len(self._fit)]

    @property
    def largest_sample(self) -> int:
        """The most images that may be compared at once: so many are there on both sides, for values and baselines."""
        return len(self._fit)

    @cached_property
    def moments(self) -> Moments:
        """Of the features of the fit split."""
        moments = Moments(FEATURES)
        for first in range(0, len(self._fit), 10_000):
            moments.add(self.real_features[first : first + 10_000])
        return moments

    @property
    def held_out_features(self) -> NDArray[np.float32]:
        """Features of images that neither network has seen, float32 [at most HELD_OUT, FEATURES]."""
        return self._features[self._held_out][:HELD_OUT]

    @cached_property
    def held_out_distances(self) -> Tensor | None:
        """From held-out images to their nearest training image, in features.

        None if no image is held out, or at least half of these are training images, too: then no image can be nearer.
        """
        queries = self.held_out_features
        if not len(queries):
            return None
        distances = self.training_distances(queries)
        return distances if distances.median() > 0 else None

    def training_distances(self, features: NDArray[np.float32]) -> Tensor:
        """Returns distances float64 [n] from features [n, FEATURES] to the nearest training image or mirrored one."""
        return self._nearest_training(features)[0]

    def counts(self, samples: int) -> dict[str, int]:
        """Returns how many images each metric compares, for protocols, given ``samples`` generated ones."""
        pairs = min(samples, len(self._fit), NEIGHBOURS)
        return {
            "samples": samples,
            "fit": len(self._fit),
            "pairs": pairs,
            "subset": min(1000, pairs // 2),
            "sliced": min(samples, len(self._fit), SLICED),
            "queries": min(samples, HELD_OUT),
            "held_out": len(self.held_out_features),
            "training": len(self._training),
        }

    def real_images(self, count: int) -> NDArray[np.uint8]:
        """Returns at most ``count`` random images of the fit split, uint8 [N, H, W, C]."""
        return self.data.images[self._fit[:count]]

    def compared_images(self, count: int) -> NDArray[np.uint8]:
        """Returns ``real_images`` as pixels are compared: premultiplied, so that only visible differences count."""
        return premultiply(self.real_images(count))

    def nearest_images(self, features: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Returns the training images, or their mirrors, nearest to features [N, FEATURES], uint8 [N, H, W, C]."""
        _, rows, mirrored = self._nearest_training(features)
        images: NDArray[np.uint8] = self.data.images[self._order[self._training[rows]]]
        return np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)

    def fit_batches(self, count: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64] | None]]:
        """Yields at most ``count`` images of the fit split and their labels, in batches."""
        yield from self._real_batches(self._fit[:count])

    def unseen_batches(self, count: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64] | None]]:
        """Yields at most ``count`` images of the unseen split and their labels, in batches."""
        yield from self._real_batches(self._unseen[:count])

    def noise_batches(self, count: int) -> Iterator[tuple[NDArray[np.uint8], None]]:
        """Yields ``count`` images of uniform noise, always the same, in batches."""
        random = np.random.RandomState(0)
        for indices in _batches(np.arange(count)):
            yield random.randint(0, 256, (len(indices), *self.data.images.shape[1:]), np.uint8), None

    def baselines(self, kind: str, count: int, compute: Callable[[], Baselines]) -> Baselines:
        """Returns the baselines of one kind of evaluation on ``count`` images, computed unless they are cached."""
        path = judges_folder() / f"{self._key}-{kind}-{count}-{_definitions_digest()}.json"
        if not path.is_file():
            write_atomic(path, compute().model_dump_json().encode())
        return Baselines.model_validate_json(path.read_bytes())

    def _real_batches(self, images: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64] | None]]:
        for indices in _batches(images):
            yield self.data.images[indices], None if self.data.labels is None else self.data.labels[indices]

    @cached_property
    def _training(self) -> NDArray[np.int64]:
        """Rows of the features: the images that the generator was trained on."""
        return np.delete(np.arange(len(self._order)), self._held_out)

    @cached_property
    def _mirrored_features(self) -> NDArray[np.float32]:
        return cached_features(
            judges_folder() / f"{self._key}-mirrored{FEATURES_ENDING}", lambda: self._compute_features(mirrored=True)
        )

    def _nearest_training(self, features: NDArray[np.float32]) -> tuple[Tensor, NDArray[np.int64], NDArray[np.bool_]]:
        """Returns the nearest training image: its distance, its row in ``_training``, and whether it is mirrored.

        Mirrors count for every generator: one that was trained with flips has learnt them, and to any other they are
        images that it hardly ever comes near.
        """
        sides = (self._features, self._mirrored_features)
        (plain, rows), (mirrored, mirrored_rows) = (
            nearest_training_images(features, side[self._training]) for side in sides
        )
        nearer = mirrored < plain
        return (
            torch.minimum(plain, mirrored),
            torch.where(nearer, mirrored_rows, rows).cpu().numpy(),
            nearer.cpu().numpy(),
        )

    def _compute_features(self, mirrored: bool = False) -> NDArray[np.float32]:
        features = np.empty((len(self.data), FEATURES), np.float32)
        steps = list(enumerate(_batches(self._order)))
        title = "Features of mirrored images" if mirrored else "Features of real images"
        progress = track(steps, title, console=console, disable=not console.is_terminal)
        with stage(f"the judge's features of {len(self._order)} {'mirrored' if mirrored else 'real'} images"):
            for step, indices in progress:
                first, images = step * _BATCH, self.data.images[indices]
                features[first : first + len(indices)] = self.judge(images[:, :, ::-1] if mirrored else images)[0]
        return features


@cache
def _definitions_digest() -> str:
    """Returns a SHA-256 of the source that defines the metrics and their images, 12 hex digits.

    A changed definition never reads baselines cached by an earlier one. A changed comment costs one recomputation.
    """
    folder = Path(__file__).parent
    sources = [
        *sorted((folder / "metrics").glob("*.py")),
        *(folder / f"{name}.py" for name in _DEFINED_IN),
        Path(split.__file__),
    ]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


_DEFINED_IN = ("evaluate", "gather", "in_loop", "reference", "shared/judge", "shared/scores")
"""The modules outside of ``metrics`` that choose which images are compared."""


def _batches(indices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for first in range(0, len(indices), _BATCH):
        yield indices[first : first + _BATCH]


def cached_features(path: Path, compute: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    """Returns features float32 [N, D], mapped from a file that is computed unless it is cached."""
    if not mark_in_use(path):
        content = io.BytesIO()
        np.save(content, compute())
        write_atomic(path, content.getvalue())
        mark_in_use(path)
        evict()
    features: NDArray[np.float32] = np.load(path, mmap_mode="r")
    return features
