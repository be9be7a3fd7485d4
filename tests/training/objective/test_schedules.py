"""Learning rates begin at 1, end where they should, and never leave the way between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.objective.schedules import Shape, decay, ema_decay


@pytest.mark.parametrize(("shape", "middle", "end"), [("constant", 1, 1), ("linear", 0.6, 0.2), ("cosine", 0.6, 0.2)])
def test_decay(shape: Shape, middle: float, end: float) -> None:
    assert decay(shape, 0.2, 0) == 1
    assert decay(shape, 0.2, 0.5) == pytest.approx(middle)
    assert decay(shape, 0.2, 1) == pytest.approx(end)
    assert decay(shape, 0.2, 1.5) == pytest.approx(end), "a run may end a little beyond its budget"


@given(shape=st.sampled_from(["linear", "cosine"]), final=st.floats(0, 1), progress=st.floats(0, 0.99))
def test_decay_only_falls(shape: Shape, final: float, progress: float) -> None:
    assert decay(shape, final, progress) >= decay(shape, final, progress + 0.01) - 1e-12
    assert final - 1e-12 <= decay(shape, final, progress) <= 1


def test_an_average_halves_in_its_half_life_however_it_is_cut() -> None:
    keep = 1.0
    for _ in range(10):
        keep *= ema_decay(640, ramp=1, images_seen=100_000, images=64)
    assert keep == pytest.approx(0.5)


def test_an_early_average_forgets_as_fast_as_its_ramp_says() -> None:
    assert ema_decay(10_000, ramp=0.05, images_seen=2_000, images=100) == pytest.approx(0.5)
