"""Computes FID, KID and Inception Score by the protocol of published results."""

import io

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from models.transparency import MID_GREY
from training.console import console
from training.data.cache import FEATURES_ENDING, judges_folder
from training.data.dataset import TrainingImages
from training.evaluation.inception import weights
from training.evaluation.inception.weights import Inception
from training.evaluation.metrics.frechet import frechet_distance
from training.evaluation.metrics.inception_score import InceptionScore
from training.evaluation.metrics.kernel import kernel_distance
from training.evaluation.metrics.moments import Moments
from training.evaluation.metrics.reservoir import Reservoir
from training.evaluation.metrics.table import Better
from training.evaluation.reference import cached_features
from training.evaluation.scores import JudgedScore
from training.evaluation.target import EvalTarget, generate_batches, prefetch
from training.files import write_atomic

FAKES = 50_000
"""Generated images."""
SPLITS = 10
KERNEL_IMAGES = 10_000
"""Most images a side that the subsets of KID are drawn from."""

_BATCH = 100


def fid_left_out(data: TrainingImages) -> str | None:
    """Returns why there is no FID against this data, or None if there is one."""
    if len(data) > weights.FEATURES:
        return None
    return f"needs more than {weights.FEATURES} real images, and {data.name} holds {len(data)}; read kid"


def inception_scores(inception: Inception, target: EvalTarget, data: TrainingImages, seed: int) -> list[JudgedScore]:
    """Returns FID as ``fid50k_full``, KID as ``kid50k``, and IS as ``is50k`` with 10 splits.

    All training images, not flipped, are compared with 50 000 generated ones; KID's subsets are drawn from up to
    ``KERNEL_IMAGES`` of each. Generated images have the seeds from ``seed`` on, and labels as frequent as in the data.
    FID is left out where ``fid_left_out`` tells why.
    """
    fakes, score = Moments(weights.FEATURES), InceptionScore(FAKES, SPLITS)
    sample = Reservoir(KERNEL_IMAGES, 0)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        real, real_sample = _real_features(inception, data, progress)
        task = progress.add_task("Inception on generated images", total=FAKES)
        for images, _ in generate_batches(target, data, FAKES, seed):
            features = inception.features(images)
            fakes.add(features)
            sample.add(features)
            score.add(inception.probabilities(images))
            progress.advance(task, len(images))
    generated_as = f"{FAKES} generated images, uint8, seeds from {seed}, labels as frequent as in the data"
    resized = f"{inception.name}.pt with its own resize"
    if target.image.channels == 4:
        resized += f"; laid over {MID_GREY}, red, green and blue"
    against = f"all {len(data)} images of {data.name}, no flips, against {generated_as}"
    frechet = [] if fid_left_out(data) else [frechet_distance(fakes, real)]
    kernel, estimate = kernel_distance(real_sample, sample.sample()), score.score()
    drawn = f"kernel (x·y / D + 1)³, unbiased, 100 subsets of up to 1000 from up to {KERNEL_IMAGES} images a side"
    return [
        *(_score(inception, "fid", value, None, "lower", f"fid50k_full: {against}; {resized}") for value in frechet),
        _score(inception, "kid", kernel.value, kernel.deviation, "lower", f"kid50k: {against}; {drawn}; {resized}"),
        _score(
            inception,
            "inception_score",
            estimate.value,
            estimate.deviation,
            "higher",
            f"is50k: {SPLITS} splits of {generated_as}; {resized}",
        ),
    ]


def _score(
    inception: Inception, metric: str, value: float, deviation: float | None, better: Better, protocol: str
) -> JudgedScore:
    return JudgedScore(
        metric=metric,
        value=value,
        judge=inception.name,
        samples=FAKES,
        floor=None,
        ceiling=None,
        deviation=deviation,
        share=None,
        better=better,
        protocol=protocol,
    )


def _real_features(
    inception: Inception, data: TrainingImages, progress: Progress
) -> tuple[Moments, NDArray[np.float32]]:
    """Returns the moments of Inception's features of all training images, and a random sample of the features.

    Both are computed unless they are cached.
    """
    key = f"{data.fingerprint}-{inception.sha256[:16]}"
    path = judges_folder() / f"{key}-moments.npz"

    def compute() -> NDArray[np.float32]:
        moments, sample = Moments(weights.FEATURES), Reservoir(KERNEL_IMAGES, 0)
        task = progress.add_task("Inception on real images", total=len(data))
        for images in prefetch(data.images[first : first + _BATCH] for first in range(0, len(data), _BATCH)):
            features = inception.features(images)
            moments.add(features)
            sample.add(features)
            progress.advance(task, len(images))
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **moments.arrays())
        write_atomic(path, content.getvalue())
        return sample.sample()

    sample_path = judges_folder() / f"{key}-sample{FEATURES_ENDING}"
    if not path.is_file():
        sample_path.unlink(missing_ok=True)  # one pass computes both
    sample = cached_features(sample_path, compute)
    with np.load(path) as arrays:
        return Moments.from_arrays(dict(arrays)), sample
