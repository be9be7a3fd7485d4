"""Measures training time, and stops at the marks: what is judged at a mark costs no contender time."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Clock = Callable[[], float]

CLOCKS: dict[str, Clock] = {"cpu": time.process_time, "wall": time.perf_counter}
"""``cpu`` counts the seconds that this process computes, so other work on the machine hardly changes it."""


class Stopwatch:
    """Seconds on a clock since its creation, without the pauses."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._began, self._paused = clock, clock(), 0.0

    @property
    def elapsed(self) -> float:
        """The seconds so far; not to be read during a pause."""
        return self._clock() - self._began - self._paused

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves out the seconds of the block."""
        began = self._clock()
        yield
        self._paused += self._clock() - began


class TimeUp(Exception):  # noqa: N818  (an end, not an error)
    """The last mark is reached."""


class Marks:
    """Calls ``reached(mark)`` after the first step that ends at or after each mark, while the stopwatch is paused."""

    def __init__(self, stopwatch: Stopwatch, marks: Sequence[float], reached: Callable[[float, float], None]) -> None:
        """Takes ``marks`` in seconds; ``reached`` gets the mark, and the seconds after which its step ended."""
        self._stopwatch, self._left, self._reached = stopwatch, sorted(marks), reached

    def after_step(self) -> None:
        """Looks at the stopwatch. Raises ``TimeUp`` once no mark is left."""
        elapsed = self._stopwatch.elapsed
        with self._stopwatch.paused():
            while self._left and self._left[0] <= elapsed:
                self._reached(self._left.pop(0), elapsed)
        if not self._left:
            raise TimeUp
