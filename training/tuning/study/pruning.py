"""Decides which trials continue: asynchronous successive halving (Li et al. 2020, algorithm 2).

Before about 15 % of a GAN's budget, rankings are noise. So the first rung is there, and each further rung is at three
times the images. A trial continues if it ranks in the top third of all trials that have reached its rung so far.
"""

import math

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from training.tuning.study.queue import identity_of
from training.tuning.trial.run import judge_every

ETA = 3
"""One of ETA trials continues, to ETA times the images."""
PRESET = 0
"""The identity of the trial that is the preset itself. It is never pruned, since all others are compared with it."""


def rungs(images: int) -> list[int]:
    """Returns the counts of images seen at which trials of a budget are ranked."""
    found, rung = [], judge_every(images)
    while rung < images:
        found.append(rung)
        rung *= ETA
    return found


class AshaPruner(BasePruner):
    """Prunes at rungs, by the values reported there."""

    def __init__(self, rungs: list[int]) -> None:
        self._rungs = rungs

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Returns whether the trial is at a rung and ranks below the top third there."""
        if trial.last_step not in self._rungs or identity_of(trial) == PRESET:
            return False
        rank, count = self.rank(study, trial, trial.last_step)
        return count >= ETA and rank > math.ceil(count / ETA)

    def rank(self, study: optuna.Study, trial: FrozenTrial, rung: int) -> tuple[int, int]:
        """Returns the trial's rank at a rung, from 1, and the number of trials ranked there."""
        others = [
            other.intermediate_values[rung]
            for other in study.get_trials(deepcopy=False)
            if other.state != TrialState.FAIL and other.number != trial.number and rung in other.intermediate_values
        ]
        own = trial.intermediate_values[rung]
        return 1 + sum(other <= own for other in others), 1 + len(others)
