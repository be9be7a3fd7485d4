"""The past of a run in flat memory: windows whose lengths are shares of the run so far."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from training.doctor.thresholds import LATEST_ROWS, LATEST_SHARE, RECENT_ROWS, RECENT_SHARE, SKIPPED_ROWS

CAPACITY = 2_048
"""Most rows that are kept. A history beyond it drops every second row, and from then on takes only half as many."""

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
    ordered, last = np.sort(values), len(values) - 1
    low, median, high = ordered[[round(0.1 * last), round(0.5 * last), round(0.9 * last)]].tolist()
    return Level(low, median, high)


class History:
    """Keeps a signal's values, evenly thinned out, oldest first."""

    def __init__(self) -> None:
        self._values: Values = np.empty(0)
        self._stride, self._rows = 1, 0
        self._pending: list[float] = []
        self.add = self._pending.append
        """Adds the next value."""

    def __len__(self) -> int:
        return self._rows + len(self._pending)

    def windows(self) -> "Windows":
        """Returns the windows of the run so far, which needs ``WARM_UP_ROWS`` rows."""
        first = -self._rows % self._stride
        self._values = np.concatenate([self._values, self._pending[first :: self._stride]])
        self._rows = len(self)
        self._pending.clear()
        while len(self._values) > CAPACITY:
            self._values, self._stride = self._values[::2].copy(), 2 * self._stride
        return Windows(self._values)


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
    def early_values(self) -> Values:
        """The first half of the run so far, oldest first, without its first rows."""
        return self._values[SKIPPED_ROWS : max(RECENT_ROWS, len(self._values) // 2)]

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
        return level_of(self.early_values)

    def rise(self) -> float:
        """Returns how far the recent median lies above the early one, in units of the early spread."""
        return _in_spreads(self.recent.median - self.early.median, self.early)

    def shift(self) -> float:
        """Returns how far the latest median lies above the one before, in units of the spread before."""
        return _in_spreads(self.latest.median - self.before.median, self.before)


def _in_spreads(change: float, past: Level) -> float:
    return change / past.spread if past.spread > 0 else 0.0
