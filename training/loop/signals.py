"""When and how the loop reads the doctor's signals: from single steps, so that no interruption changes them."""

import torch
from torch import Tensor

from training.config.schema import Config
from training.loop.step import GRADIENT_NORM_INTERVAL
from training.parallel.distributed import Processes

ROWS_PER_BUDGET = 500
"""Rows of signals that a budget has, or a row for each generator step if there are fewer. The rules need 50."""

_NAMES = {
    "d_loss": "discriminator_loss",
    "g_loss": "generator_loss",
    "g_gradient": "generator_gradient_norm",
    "fake_logit": "fake_logit",
}


def row_number(config: Config, before: int) -> int | None:
    """Returns the number of the row that the step from ``before`` images yields, from 0; None if it yields none.

    A row is of a step in which the generator trains, and every few rows its gradient is measured in that step. So a row
    needs nothing of earlier steps, which a resumed run would not have.
    """
    steps = before // config.batch_size
    if (steps + 1) % config.discriminator_steps:
        return None
    turn = steps // config.discriminator_steps
    interval = round(config.images / (ROWS_PER_BUDGET * config.batch_size * config.discriminator_steps))
    if interval > GRADIENT_NORM_INTERVAL:
        interval -= interval % GRADIENT_NORM_INTERVAL
    return None if turn % max(1, interval) else turn // max(1, interval)


def read_row(metrics: dict[str, Tensor], processes: Processes) -> dict[str, float]:
    """Returns a step's signals, by the fields of ``Signals``, as means over all processes."""
    found = {signal: metrics[name] for signal, name in _NAMES.items() if name in metrics}
    values = torch.stack([value.float() for value in found.values()])
    processes.average([values])
    return dict(zip(found, values.tolist(), strict=True))
