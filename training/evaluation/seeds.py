"""Which images choose a generator, and which tell how good it is: seeds of ranges that do not meet.

The best of many checkpoints is also the luckiest on the images that chose it. So it is told by other images.
"""

from models.noise import MAX_SEED

CHOOSING = 0
"""First seed of the scores during training, which choose the best checkpoint and rank the trials of a study."""

CONFIRMING = 50_000
"""First seed of a study's confirmations, which choose the best of a few. The seeds before are the choosing ones."""

TELLING = 100_000
"""First seed of ``evaluate`` unless another is given. The seeds before have chosen what is told about."""


def has_chosen(first: int, count: int) -> bool:
    """Returns whether ``count`` seeds from ``first`` on, which wrap around, meet those that choose."""
    return first < TELLING or first + count > MAX_SEED + 1
