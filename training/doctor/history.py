"""The past of a run in flat memory: windows whose lengths are shares of the run so far."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from training.doctor.thresholds import LATEST_ROWS, LATEST_SHARE, RECENT_ROWS, RECENT_SHARE, SKIPPED_ROWS

CAPACITY = 2_048
"""Rows that are kept. A full history drops every second row, and from then on keeps half as many."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Level:
    """The 10 %, 50 % and 90 % quantiles of a window."""

    low: float
    median: float
    high: float

    @property
    def spread(self) -> float:
        """The distance from the 10 % to the 90 % quantile."""
        return self.high - self.low


def level_of(values: Values) -> Level:
    """Returns the quantiles of a window that is not empty."""
    ordered = np.sort(values)
    last = len(ordered) - 1
    return Level(*(float(ordered[round(share * last)]) for share in (0.1, 0.5, 0.9)))


class History:
    """Keeps a signal's values, evenly thinned out, oldest first."""

    def __init__(self) -> None:
        self._values = np.empty(CAPACITY)
        self._kept, self._stride, self.rows = 0, 1, 0

    def add(self, value: float) -> None:
        """Adds the next value."""
        if self.rows % self._stride == 0:
            if self._kept == CAPACITY:
                self._values[: CAPACITY // 2] = self._values[::2]
                self._kept, self._stride = CAPACITY // 2, 2 * self._stride
            self._values[self._kept] = value
            self._kept += 1
        self.rows += 1

    def windows(self) -> "Windows":
        """Returns the windows of the run so far, which needs ``WARM_UP_ROWS`` rows."""
        return Windows(self._values[: self._kept])


class Windows:
    """Windows of one signal; each is computed when a rule asks for it."""

    def __init__(self, values: Values) -> None:
        self._values = values

    @cached_property
    def latest_values(self) -> Values:
        """The newest values, oldest first."""
        return self._values[-max(LATEST_ROWS, int(LATEST_SHARE * len(self._values))) :]

    @cached_property
    def recent_values(self) -> Values:
        """The newer values, oldest first; the latest are among them."""
        return self._values[-max(RECENT_ROWS, int(RECENT_SHARE * len(self._values))) :]

    @cached_property
    def latest(self) -> Level:
        """The newest values."""
        return level_of(self.latest_values)

    @cached_property
    def recent(self) -> Level:
        """The newer values."""
        return level_of(self.recent_values)

    @cached_property
    def before(self) -> Level:
        """The second half of the run so far, without the latest values."""
        end = len(self._values) - len(self.latest_values)
        return level_of(self._values[max(SKIPPED_ROWS, end - max(LATEST_ROWS, len(self._values) // 2)) : end])

    @cached_property
    def early(self) -> Level:
        """The first half of the run so far, without its first rows."""
        return level_of(self._values[SKIPPED_ROWS : max(RECENT_ROWS, len(self._values) // 2)])

    def rise(self) -> float:
        """Returns how far the recent median lies above the early one, in units of the early spread."""
        return _in_spreads(self.recent.median - self.early.median, self.early)

    def shift(self) -> float:
        """Returns how far the latest median lies above the one before, in units of the spread before."""
        return _in_spreads(self.latest.median - self.before.median, self.before)


def _in_spreads(change: float, past: Level) -> float:
    return change / past.spread if past.spread > 0 else 0.0
