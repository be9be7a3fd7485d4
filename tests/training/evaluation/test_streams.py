"""Memory of streaming metrics does not grow with the number of batches."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest

from training.evaluation.metrics.frechet import ExtrapolatedFrechet
from training.evaluation.metrics.inception_score import InceptionScore
from training.evaluation.metrics.moments import Moments
from training.evaluation.metrics.reservoir import Reservoir

BATCH = np.random.RandomState(0).dirichlet(np.ones(8), 64).astype(np.float32)
FEW, MANY = 20, 400


def moments(batches: int) -> Moments:
    result = Moments(BATCH.shape[1])
    for _ in range(batches):
        result.add(BATCH)
    return result


def extrapolation(batches: int) -> ExtrapolatedFrechet:
    result = ExtrapolatedFrechet(moments(1), (64, 128, 192))
    for _ in range(batches):
        result.add(BATCH)
    return result


def inception_score(batches: int) -> InceptionScore:
    result = InceptionScore(total=batches * len(BATCH))
    for _ in range(batches):
        result.add(BATCH)
    return result


def reservoir(batches: int) -> Reservoir:
    result = Reservoir(capacity=100, seed=0)
    for _ in range(batches):
        result.add(BATCH)
    return result


@pytest.mark.parametrize("stream", [moments, extrapolation, inception_score, reservoir])
def test_memory_does_not_grow_with_the_stream(stream: Callable[[int], object]) -> None:
    assert len(pickle.dumps(stream(MANY))) < len(pickle.dumps(stream(FEW))) + BATCH.nbytes / 4
