"""Loads the generator that a run is judged by: what export, evaluation and reports use."""

from dataclasses import dataclass

import torch
from torch import nn

from training.errors import TrainingError
from training.loop.state import TrainingState
from training.runs.checkpoints import load_checkpoint, read_best
from training.runs.folder import RunFolder
from training.runs.resuming import resume_point


@dataclass(frozen=True)
class BestGenerator:
    """An EMA generator of a run, in evaluation mode."""

    network: nn.Module
    images_seen: int
    half_life: int


def load_best_generator(
    run: RunFolder,
    device: torch.device = torch.device("cpu"),  # noqa: B008
    last: bool = False,
) -> BestGenerator:
    """Returns the EMA generator with the best score; for a run without a judge, the newest of the first half-life.

    With ``last``, it is the newest one in any case. Raises ``TrainingError`` if the run has no checkpoint.
    """
    state = TrainingState(run.config, run.labels, device)
    if run.best.exists() and not last:
        best = read_best(run.best)
        network = state.emas[best["half_life"]]
        network.load_state_dict(best["generator"])
        return BestGenerator(network, best["images_seen"], best["half_life"])
    checkpoint = resume_point(run)
    if checkpoint is None:
        raise TrainingError(
            f"{run.path} holds no checkpoint yet; go on with the run: python -m training resume {run.path}"
        )
    load_checkpoint(state, checkpoint)
    return BestGenerator(state.ema, state.images_seen, run.config.ema.half_lives[0])
