"""An EMA halves in its half-life, and forgets early weights at the speed of its ramp."""

import pytest

from training.loop.ema import ema_decay


def test_an_ema_halves_in_its_half_life_for_any_batch_size() -> None:
    share = 1.0
    for _ in range(10):
        share *= ema_decay(640, ramp=1, images_seen=100_000, batch_size=64)
    assert share == pytest.approx(0.5)


def test_an_early_ema_forgets_at_the_speed_of_its_ramp() -> None:
    assert ema_decay(10_000, ramp=0.05, images_seen=2_000, batch_size=100) == pytest.approx(0.5)
