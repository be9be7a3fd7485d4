"""How settings change over the budget: functions of progress, with no state."""

import math
from typing import Literal

Schedule = Literal["constant", "linear", "cosine"]


def schedule_factor(schedule: Schedule, final_share: float, progress: float) -> float:
    """Returns the factor of a setting, such as the learning rate, after ``progress`` (0 … 1) of the schedule.

    The factor begins at 1 and ends at ``final_share``. Beyond the end it stays there.
    """
    progress = min(max(progress, 0.0), 1.0)
    match schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1 + (final_share - 1) * progress
        case "cosine":
            return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * progress))


def growth(schedule: Schedule, progress: float) -> float:
    """Returns the factor that grows from 0 to 1 as ``schedule_factor`` falls from 1 to 0; 1 for ``constant``."""
    return 1.0 if schedule == "constant" else 1 - schedule_factor(schedule, 0, progress)
