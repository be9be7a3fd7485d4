"""Marks are read on a clock that stands still while contenders are judged."""

import pytest

from benchmarks.training.rivals.clock import Marks, Stopwatch, TimeUp


class FakeClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_pause_is_not_counted() -> None:
    clock = FakeClock()
    stopwatch = Stopwatch(clock)
    clock.now += 2
    with stopwatch.paused():
        clock.now += 1000
    clock.now += 3
    assert stopwatch.elapsed == 5


def test_each_mark_is_reached_once_by_the_first_step_that_ends_there() -> None:
    clock, reached = FakeClock(), list[tuple[float, float]]()

    def judge(mark: float, seconds: float) -> None:
        reached.append((mark, seconds))
        clock.now += 500  # judging takes longer than all the training

    marks = Marks(Stopwatch(clock), [30, 10], judge)
    for _ in range(4):
        clock.now += 6
        marks.after_step()
    clock.now += 6
    with pytest.raises(TimeUp):
        marks.after_step()
    assert reached == [(10, 12), (30, 30)]


def test_a_step_may_pass_several_marks() -> None:
    clock, reached = FakeClock(), list[float]()
    marks = Marks(Stopwatch(clock), [1, 2], lambda mark, seconds: reached.append(mark))
    clock.now += 60
    with pytest.raises(TimeUp):
        marks.after_step()
    assert reached == [1, 2]
