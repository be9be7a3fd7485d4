"""How learning rates change over the budget, and averages over time: functions of the images seen, nothing stored."""

import math
from typing import Literal

Shape = Literal["constant", "linear", "cosine"]


def decay(shape: Shape, final_share: float, progress: float) -> float:
    """The share of the learning rate after ``progress`` (0 … 1) of the budget: 1 at first, ``final_share`` at last."""
    progress = min(max(progress, 0.0), 1.0)
    match shape:
        case "constant":
            return 1.0
        case "linear":
            return 1 + (final_share - 1) * progress
        case "cosine":
            return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * progress))


def ema_decay(half_life: int, ramp: float, images_seen: int, images: int) -> float:
    """What a moving average keeps of itself over a step of ``images`` that ends at ``images_seen``.

    A half after its half-life. Early on that is ``ramp`` of the images seen, so that the first weights are soon
    forgotten (as in Karras et al. 2020, arXiv:2006.06676).
    """
    return math.pow(0.5, images / min(half_life, ramp * images_seen))
