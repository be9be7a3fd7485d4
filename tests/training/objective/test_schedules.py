"""A setting's factor begins at 1, ends at its final share, and stays between the two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.objective.schedules import Schedule, growth, schedule_factor


@pytest.mark.parametrize(
    ("schedule", "middle", "end"), [("constant", 1, 1), ("linear", 0.6, 0.2), ("cosine", 0.6, 0.2)]
)
def test_factor_at_begin_middle_and_end(schedule: Schedule, middle: float, end: float) -> None:
    assert schedule_factor(schedule, 0.2, 0) == 1
    assert schedule_factor(schedule, 0.2, 0.5) == pytest.approx(middle)
    assert schedule_factor(schedule, 0.2, 1) == pytest.approx(end)
    assert schedule_factor(schedule, 0.2, 1.5) == pytest.approx(end), "a run may end a little beyond its budget"


@given(schedule=st.sampled_from(["linear", "cosine"]), final=st.floats(0, 1), progress=st.floats(0, 0.99))
def test_factor_only_falls(schedule: Schedule, final: float, progress: float) -> None:
    assert schedule_factor(schedule, final, progress) >= schedule_factor(schedule, final, progress + 0.01) - 1e-12
    assert final - 1e-12 <= schedule_factor(schedule, final, progress) <= 1


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_growth_mirrors_the_factor(schedule: Schedule) -> None:
    assert [growth(schedule, progress) for progress in (0, 0.5, 1, 1.5)] == pytest.approx([0, 0.5, 1, 1])
    assert growth(schedule, 0.25) == pytest.approx(1 - schedule_factor(schedule, 0, 0.25))


def test_a_constant_schedule_has_grown_from_the_start() -> None:
    assert growth("constant", 0) == growth("constant", 0.7) == 1
