"""An order of images in which every label comes equally often, however many images it has (``data.balance``)."""

import functools

import numpy as np
from numpy.typing import NDArray

_ROUNDS, _IMAGES = 0, 1
"""The streams of random numbers that shuffle the labels of a round, and the images of a label."""


class BalancedOrder:
    """An endless series of rounds. Each round has every label once, in an order of its own.

    The images of a label come in shuffled passes of their own: each of a label's five images comes once in five rounds.
    Every position follows from the seed alone: the order can start anywhere.
    """

    def __init__(self, labels: NDArray[np.int64], seed: int) -> None:
        """``labels`` int64 [N] are those of all images. Labels without an image do not come."""
        used, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
        self._members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
        self._seed = seed
        # A batch as large as a round uses one or two passes of each large label.
        self._pass_over = functools.lru_cache(maxsize=2 * len(used))(self._shuffle)

    def indices(self, start: int, count: int) -> NDArray[np.int64]:
        """Returns the images at positions start … start + count - 1, int64 [count]."""
        per_round = len(self._members)
        first, last = start // per_round, (start + count - 1) // per_round
        rounds = [self._round(number) for number in range(first, last + 1)]
        begin = start - first * per_round
        return np.concatenate([*rounds, np.empty(0, dtype=np.int64)])[begin : begin + count]

    def _round(self, number: int) -> NDArray[np.int64]:
        order = np.random.default_rng((self._seed, _ROUNDS, number)).permutation(len(self._members))
        images = [self._pass_over(label, number // len(self._members[label])) for label in order.tolist()]
        return np.array([members[number % len(members)] for members in images], dtype=np.int64)

    def _shuffle(self, label: int, number: int) -> NDArray[np.int64]:
        """Returns a label's images in the order of one pass over them."""
        return np.random.default_rng((self._seed, _IMAGES, label, number)).permutation(self._members[label])
