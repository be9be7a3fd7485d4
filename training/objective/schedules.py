"""How the learning rate changes over the budget: a function of progress, with no state."""

import math
from typing import Literal

Schedule = Literal["constant", "linear", "cosine"]


def learning_rate_factor(schedule: Schedule, final_share: float, progress: float) -> float:
    """Returns the factor of the learning rate after ``progress`` (0 … 1) of the budget.

    The factor begins at 1 and ends at ``final_share``. Beyond the budget it stays there.
    """
    progress = min(max(progress, 0.0), 1.0)
    match schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1 + (final_share - 1) * progress
        case "cosine":
            return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * progress))
