"""Windows are shares of the run so far, and memory is bounded."""

import numpy as np
import pytest

from training.doctor.history import CAPACITY, History, level_of


def test_level_is_three_quantiles() -> None:
    level = level_of(np.arange(101.0))
    assert (level.low, level.median, level.high, level.spread) == (10, 50, 90, 80)


def test_windows_of_a_short_run_hold_exactly_its_rows() -> None:
    history = History()
    for value in range(200):
        history.add(float(value))
    windows = history.windows()
    assert windows.latest_values.tolist() == list(range(180, 200))
    assert windows.recent_values.tolist() == list(range(170, 200))
    assert windows.before.median == pytest.approx(130, abs=1)
    assert windows.early.median == pytest.approx(55, abs=1)


@pytest.mark.parametrize("check_every", [1, 10, 999])
def test_a_long_run_is_thinned_out_evenly_however_often_it_is_checked(check_every: int) -> None:
    history, rows = History(), 20_000
    for value in range(rows):
        history.add(float(value))
        if value % check_every == 0:
            history.windows()
    windows = history.windows()
    values = windows._values
    assert len(values) <= CAPACITY
    assert len(history) == rows
    assert set(np.diff(values)) == {16.0}
    assert windows.early.median == pytest.approx(rows / 4, rel=0.02)
    assert windows.recent.median == pytest.approx(rows * 15 / 16, rel=0.02)
