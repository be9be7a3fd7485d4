"""Computes FID and Inception Score by the protocol of published results."""

import io

import numpy as np
from rich.progress import Progress

from models.transparency import MID_GREY
from training.console import console
from training.data.cache import judges_folder
from training.data.dataset import TrainingImages
from training.errors import TrainingError
from training.evaluation.inception import weights
from training.evaluation.inception.weights import Inception
from training.evaluation.metrics.frechet import frechet_distance
from training.evaluation.metrics.inception_score import InceptionScore
from training.evaluation.metrics.moments import Moments
from training.evaluation.scores import JudgedScore
from training.evaluation.target import EvalTarget, generate_batches, prefetch
from training.files import write_atomic

FAKES = 50_000
"""Generated images."""
SPLITS = 10

_BATCH = 100


def inception_scores(inception: Inception, target: EvalTarget, data: TrainingImages, seed: int) -> list[JudgedScore]:
    """Returns FID as ``fid50k_full`` and IS as ``is50k`` with 10 splits.

    FID compares all training images, not flipped, with 50 000 generated ones. These have the seeds from ``seed`` on,
    and labels as frequent as in the data. Raises ``TrainingError`` unless there are more real images than features.
    """
    if len(data) <= weights.FEATURES:
        raise TrainingError(
            f"{data.name} holds {len(data)} images; an FID on {weights.FEATURES} features needs more than that many"
        )
    fakes, score = Moments(weights.FEATURES), InceptionScore(FAKES, SPLITS)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        real = _real_moments(inception, data, progress)
        task = progress.add_task("Inception on generated images", total=FAKES)
        for images, _ in generate_batches(target, data, FAKES, seed):
            fakes.add(inception.features(images))
            score.add(inception.probabilities(images))
            progress.advance(task, len(images))
    estimate = score.score()
    generated_as = f"{FAKES} generated images, uint8, seeds from {seed}, labels as frequent as in the data"
    resized = f"{inception.name}.pt with its own resize"
    if target.image.channels == 4:
        resized += f"; laid over {MID_GREY}, red, green and blue"
    return [
        JudgedScore(
            metric="fid",
            value=frechet_distance(fakes, real),
            judge=inception.name,
            samples=FAKES,
            floor=None,
            ceiling=None,
            deviation=None,
            share=None,
            better="lower",
            protocol=f"fid50k_full: all {len(data)} images of {data.name}, no flips, against {generated_as}; {resized}",
        ),
        JudgedScore(
            metric="inception_score",
            value=estimate.value,
            judge=inception.name,
            samples=FAKES,
            floor=None,
            ceiling=None,
            deviation=estimate.deviation,
            share=None,
            better="higher",
            protocol=f"is50k: {SPLITS} splits of {generated_as}; {resized}",
        ),
    ]


def _real_moments(inception: Inception, data: TrainingImages, progress: Progress) -> Moments:
    """Returns the moments of Inception's features of all training images, computed unless they are cached."""
    path = judges_folder() / f"{data.fingerprint}-{inception.sha256[:16]}-moments.npz"
    if path.is_file():
        with np.load(path) as arrays:
            return Moments.from_arrays(dict(arrays))
    moments = Moments(weights.FEATURES)
    task = progress.add_task("Inception on real images", total=len(data))
    for images in prefetch(data.images[first : first + _BATCH] for first in range(0, len(data), _BATCH)):
        moments.add(inception.features(images))
        progress.advance(task, len(images))
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **moments.arrays())
    write_atomic(path, content.getvalue())
    return moments
