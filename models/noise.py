"""Defines which noise and label a seed stands for, in training and in serving.

The noise of a seed is ``numpy.random.RandomState(seed).randn(Z)``. NumPy froze that stream for good
(NEP 19), and StyleGAN's tools use it too. So a seed gives the same noise everywhere and always.
"""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_SEED = 2**32 - 1
DEFAULT_TRUNCATION = 1.0  # none: noise is used as drawn

_local = threading.local()


def noise_for_seeds(seeds: Sequence[int], noise_dim: int) -> NDArray[np.float32]:
    """Returns noise vectors, float32 [N, Z], for N seeds in 0 … ``MAX_SEED``.

    Raises ``ValueError`` for a seed out of range.
    """
    noise = np.empty((len(seeds), noise_dim), dtype=np.float32)
    # Re-seeding a state takes 6 µs, creating one takes 170. A state is not thread-safe, so each thread has its own.
    state = getattr(_local, "state", None)
    if state is None:
        state = _local.state = np.random.RandomState()
    for row, seed in enumerate(seeds):
        state.seed(seed)
        noise[row] = state.randn(noise_dim)
    return noise


def labels_for_seeds(seeds: Sequence[int], num_labels: int) -> NDArray[np.int64]:
    """Returns the default labels of seeds, int64 [N], for a generator with ``num_labels`` labels."""
    return np.array([seed % num_labels for seed in seeds], dtype=np.int64)
