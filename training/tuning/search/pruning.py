"""Which trials are worth the rest of their budget: asynchronous successive halving (Li et al. 2020, algorithm 2).

Rankings before about 15 % of a GAN's budget are noise, so the first rung is there and each further one at three times
the images. At a rung goes on what is among the best third of all that have come so far.
"""

import math

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from training.tuning.search.queue import identity_of

FIRST_RUNG = 0.15
"""Share of the budget. Among healthy runs the rank at 4 % says little of the last, at 16 % nearly all of it."""
ETA = 3
"""One in so many goes on, with so many times the images."""
PRESET = 0
"""The identity of the trial that is the preset itself, which is never pruned: all others are compared with it."""


def judge_every(images: int) -> int:
    """Images seen from one scoring to the next, so that every rung is one."""
    return math.ceil(FIRST_RUNG * images)


def rungs(images: int) -> list[int]:
    """The images seen at which trials of a budget are ranked."""
    found, rung = [], judge_every(images)
    while rung < images:
        found.append(rung)
        rung *= ETA
    return found


class AshaPruner(BasePruner):
    """Prunes at rungs, by what has been reported there."""

    def __init__(self, rungs: list[int]) -> None:
        self._rungs = rungs

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial has just come to a rung and is not among the best third there."""
        if trial.last_step not in self._rungs or identity_of(trial) == PRESET:
            return False
        place, count = self.place(study, trial, trial.last_step)
        return count >= ETA and place > math.ceil(count / ETA)

    def place(self, study: optuna.Study, trial: FrozenTrial, rung: int) -> tuple[int, int]:
        """The trial's place at a rung, from 1, and of how many."""
        others = [
            other.intermediate_values[rung]
            for other in study.get_trials(deepcopy=False)
            if other.state != TrialState.FAIL and other.number != trial.number and rung in other.intermediate_values
        ]
        own = trial.intermediate_values[rung]
        return 1 + sum(other <= own for other in others), 1 + len(others)
