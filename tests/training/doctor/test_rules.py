"""Each rule alone: a run in which it holds and no other does. Several rules stand for one condition, so the tests of
the whole doctor would not miss one of them.
"""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from training.doctor.history import Windows
from training.doctor.rules import RULES, Moment
from training.doctor.signals import KNOWN_LOSSES

ROWS = 400
ROW = np.arange(ROWS)
NOISE = np.random.RandomState(0).randn(2, ROWS)

Losses = tuple[NDArray[np.float64], NDArray[np.float64]]


def _bursts() -> Losses:
    """From row 150 on low with a burst in every fifth row; nothing new in the newest rows."""
    late = ROW >= 150
    d_loss = np.where(late, np.where(ROW % 5 == 0, 1.5, 0.6), 1.0) + 0.01 * NOISE[0]
    return d_loss, 1 + 0.1 * NOISE[1] + 0.02 * late


def _fallen() -> Losses:
    """Falls slowly and without bursts, while the generator's loss rises slowly."""
    return np.exp(-ROW / 240) * (1 + 0.02 * NOISE[0]), 1 + 0.002 * ROW + 0.1 * NOISE[1]


def _dropped() -> Losses:
    """Half of its loss within the newest rows; the generator's loss stays."""
    return np.where(ROW >= ROWS - 22, 0.5, 1.0) + 0.01 * NOISE[0], 1 - 0.0001 * ROW


def _jumped() -> Losses:
    return np.where(ROW >= ROWS - 22, 3.0, 1.5) + 0.01 * NOISE[0], 1 - 0.0001 * ROW


def _opposite_shift() -> Losses:
    """The discriminator suddenly wins. A constant of 10 hides it from every ratio, as a classifier's loss does."""
    new = ROW >= ROWS - 22
    return 10 - 0.5 * new + 0.05 * NOISE[0], 1 + 0.5 * new + 0.05 * NOISE[1]


def _exploded() -> Losses:
    return 1 + 0.05 * NOISE[0], np.exp(np.maximum(0, ROW - 200) / 40) + 0.05 * NOISE[1]


def _unbounded() -> Losses:
    return -np.exp(np.maximum(0, ROW - 200) / 60) + 0.05 * NOISE[0], 0.05 * NOISE[1]


@pytest.mark.parametrize(
    "losses",
    [_bursts, _fallen, _dropped, _jumped, _opposite_shift, _exploded, _unbounded],
    ids=lambda case: case.__name__,
)
@pytest.mark.parametrize("loss", ["hinge", None])
def test_a_rule_holds_alone(losses: Callable[[], Losses], loss: str | None) -> None:
    d_loss, g_loss = (Windows(values) for values in losses())
    moment = Moment(loss, KNOWN_LOSSES[loss] if loss else (), d_loss, g_loss)
    assert [rule.reason.__name__ for rule in RULES if rule.reason(moment)] == [losses.__name__]


def test_no_rule_holds_for_losses_that_drift_with_little_noise() -> None:
    """A batch of 1 024 has little noise. A slow drift must not look like a shift in units of that noise."""
    for noise in (0.001, 0.01, 0.1):
        d_loss = Windows(1 - 0.3 * ROW / ROWS + noise * NOISE[0])
        g_loss = Windows(1 + 0.8 * ROW / ROWS + noise * NOISE[1])
        moment = Moment("hinge", KNOWN_LOSSES["hinge"], d_loss, g_loss)
        assert [rule.reason.__name__ for rule in RULES if rule.reason(moment)] == []


def test_a_generator_that_catches_up_is_not_reported() -> None:
    """A discriminator that won at first comes back, within few rows, to the losses of a coin toss."""
    new = ROW >= ROWS - 22
    d_loss, g_loss = np.where(new, 1.9, 0.5) + 0.01 * NOISE[0], np.where(new, 0.0, 2.0) + 0.01 * NOISE[1]
    moment = Moment("hinge", KNOWN_LOSSES["hinge"], Windows(d_loss), Windows(g_loss))
    assert [rule.reason.__name__ for rule in RULES if rule.reason(moment)] == []


@pytest.mark.parametrize(
    ("early", "late", "held"), [(0.45, 0.3, []), (0.45, 0.6, []), (0.2, 0.6, ["_undecided_critic"])]
)
def test_a_critic_that_never_was_decided_is_not_reported(early: float, late: float, held: list[str]) -> None:
    """Its share of rows above 0 was large from the start: it lags behind the generator, and nothing has changed."""
    rising = np.diff(np.floor(np.cumsum(np.where(ROW < ROWS // 2, early, late))), prepend=0) > 0
    moment = Moment("wasserstein", (), Windows(np.where(rising, 1.0, -1.0)), Windows(NOISE[1]))
    assert [rule.reason.__name__ for rule in RULES if rule.reason(moment)] == held
