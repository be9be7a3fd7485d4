"""Seed → noise: the one definition that training and serving share.

The noise of a seed is ``numpy.random.RandomState(seed).randn(Z)``. NumPy froze that stream for good
(NEP 19), and StyleGAN's tools draw from it too, so a seed means the same noise everywhere and for ever.
"""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_SEED = 2**32 - 1

_local = threading.local()


def noise_for_seeds(seeds: Sequence[int], noise_dim: int) -> NDArray[np.float32]:
    """Noise vectors, float32 [N, Z], for N seeds in 0 … ``MAX_SEED``.

    Raises ``ValueError`` for a seed out of range.
    """
    noise = np.empty((len(seeds), noise_dim), dtype=np.float32)
    # Re-seeding one state costs 6 µs, making a new one 170; a state is not thread-safe, hence one per thread.
    state = getattr(_local, "state", None)
    if state is None:
        state = _local.state = np.random.RandomState()
    for row, seed in enumerate(seeds):
        state.seed(seed)
        noise[row] = state.randn(noise_dim)
    return noise


def labels_for_seeds(seeds: Sequence[int], label_count: int) -> NDArray[np.int64]:
    """The labels, int64 [N], that a conditional generator takes for seeds that name none."""
    return np.array([seed % label_count for seed in seeds], dtype=np.int64)
