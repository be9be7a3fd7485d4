"""Limits the time that a client has to send its request, without the time in which the server itself did not read."""

import asyncio
from collections.abc import Callable

# Grace period in seconds after a timeout. If the event loop was blocked, data that arrived in time is still unread.
# Event loops poll their sockets between two timers, unless both are due at once.
GRACE_SECONDS = 0.001


class Countdown:
    """Calls a function after some seconds; can be paused. Keeps no reference to the function once stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._on_end: Callable[[], None] | None = None
        self._end = self._left = 0.0
        self._is_paused = False

    @property
    def is_running(self) -> bool:
        """Whether it has been started, and has neither been stopped nor expired. A paused countdown is running."""
        return self._on_end is not None

    def start(self, seconds: float, on_end: Callable[[], None]) -> None:
        """Starts from the beginning."""
        self.stop()
        self._on_end = on_end
        self._left = seconds
        if not self._is_paused:
            self._start_timer()

    def stop(self) -> None:
        """Stops, and drops the function."""
        self._on_end = None
        self._cancel_timer()

    def pause(self) -> None:
        """Pauses the clock, also for a countdown that is started before ``resume``."""
        self._is_paused = True
        if self._timer is not None:
            self._left = max(0.0, self._end - self._loop.time())
            self._cancel_timer()

    def resume(self) -> None:
        """Continues after a pause."""
        self._is_paused = False
        if self._on_end is not None:
            self._start_timer()

    def _start_timer(self) -> None:
        self._end = self._loop.time() + self._left
        self._timer = self._loop.call_later(self._left, self._wait_grace_period)

    def _wait_grace_period(self) -> None:
        self._timer = self._loop.call_later(GRACE_SECONDS, self._expire)

    def _expire(self) -> None:
        on_end = self._on_end
        self.stop()
        if on_end is not None:
            on_end()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
