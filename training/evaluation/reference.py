"""The real side of a comparison: the judge's features of every training image, computed once and cached."""

import hashlib
import io
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from models.strict import StrictModel
from training.console import console, stage
from training.data.cache import FEATURES_ENDING, evict, judges_folder, mark_in_use
from training.data.dataset import TrainingImages
from training.errors import TrainingError
from training.evaluation.judge.network import FEATURES, Judge
from training.evaluation.judge.train import fit_holdout_split
from training.evaluation.metrics.moments import Moments
from training.evaluation.metrics.neighbours import nearest_training_images
from training.evaluation.metrics.table import HELD_OUT
from training.files import write_atomic

_BATCH = 500


class Baselines(StrictModel):
    """The scores of real images and of noise, by metric: the scale on which a generator's score is read."""

    real_baseline: dict[str, float]
    real_samples: int
    """The requested number of images, or all of the holdout split if it has fewer."""
    noise_baseline: dict[str, float]
    labelled: tuple[int, ...] = ()
    """Real images per label; empty if the judge does not know the data's labels."""
    recognised: tuple[int, ...] = ()
    """Of those, the images in which the judge sees their label."""


class Reference:
    """A data set as a judge sees it.

    Generated images are compared with the fit split, which judges learn from. The holdout split, which no judge has
    seen, stands in for a perfect generator and gives the real baseline.
    """

    def __init__(self, data: TrainingImages, judge: Judge) -> None:
        """Computes the features of every image unless they are cached.

        Raises ``TrainingError`` if the judge knows images of another size, or there are too few images.
        """
        judge.check_size(*data.images.shape[1:])
        self.data, self.judge = data, judge
        self._fit, self._holdout = fit_holdout_split(len(data))
        if len(self._fit) <= FEATURES:
            raise TrainingError(
                f"{data.name} holds {len(data)} images; a comparison on {FEATURES} features needs at least "
                f"{2 * (FEATURES + 1)}"
            )
        self._key = f"{data.fingerprint}-{judge.record.sha256[:16]}"
        # Rows in the order of the splits: fit, then holdout.
        self._features: NDArray[np.float32] = _cached(
            judges_folder() / f"{self._key}{FEATURES_ENDING}", self._compute_features
        )

    @property
    def real_features(self) -> NDArray[np.float32]:
        """Features of the fit split, float32 [N, FEATURES], in random order, mapped from disk."""
        return self._features[: len(self._fit)]

    @property
    def held_out(self) -> int:
        """The number of images in the holdout split."""
        return len(self._holdout)

    @cached_property
    def moments(self) -> Moments:
        """Of the features of the fit split."""
        moments = Moments(FEATURES)
        for first in range(0, len(self._fit), 10_000):
            moments.add(self.real_features[first : first + 10_000])
        return moments

    @cached_property
    def held_out_distances(self) -> Tensor:
        """From images of the holdout split to their nearest image in the fit split, in features."""
        queries = self._features[len(self._fit) : len(self._fit) + HELD_OUT]
        return nearest_training_images(queries, self.real_features)[0]

    def real_images(self, count: int) -> NDArray[np.uint8]:
        """Returns at most ``count`` random images of the fit split, uint8 [N, H, W, C]."""
        return self.data.images[self._fit[:count]]

    def nearest_images(self, features: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Returns the training images of both splits nearest to features [N, FEATURES], uint8 [N, H, W, C]."""
        rows = nearest_training_images(features, self._features)[1].cpu().numpy()
        images: NDArray[np.uint8] = self.data.images[np.concatenate([self._fit, self._holdout])[rows]]
        return images

    def held_out_batches(self, count: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64] | None]]:
        """Yields at most ``count`` images of the holdout split and their labels, in batches."""
        for indices in _batches(self._holdout[:count]):
            yield self.data.images[indices], None if self.data.labels is None else self.data.labels[indices]

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

    def _compute_features(self) -> NDArray[np.float32]:
        features = np.empty((len(self.data), FEATURES), np.float32)
        order = np.concatenate([self._fit, self._holdout])
        steps = list(enumerate(_batches(order)))
        progress = track(steps, "Features of real images", console=console, disable=not console.is_terminal)
        with stage(f"the judge's features of {len(order)} real images"):
            for step, indices in progress:
                first = step * _BATCH
                features[first : first + len(indices)] = self.judge(self.data.images[indices])[0]
        return features


@cache
def _definitions_digest() -> str:
    """Returns a SHA-256 of the source that defines the metrics and their images, 12 hex digits.

    A changed definition never reads baselines cached by an earlier one. A changed comment costs one recomputation.
    """
    folder = Path(__file__).parent
    sources = [*sorted((folder / "metrics").glob("*.py")), *(folder / f"{name}.py" for name in _DEFINED_IN)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


_DEFINED_IN = ("evaluate", "gather", "in_loop", "reference")
"""The modules outside of ``metrics`` that choose which images are compared."""


def _batches(indices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for first in range(0, len(indices), _BATCH):
        yield indices[first : first + _BATCH]


def _cached(path: Path, compute: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    if not mark_in_use(path):
        content = io.BytesIO()
        np.save(content, compute())
        write_atomic(path, content.getvalue())
        mark_in_use(path)
        evict()
    features: NDArray[np.float32] = np.load(path, mmap_mode="r")
    return features
