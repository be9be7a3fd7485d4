"""The time that a client has to send its request, without the time in which the server itself did not read."""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl

# Grace period in seconds after a timeout: if the event loop was blocked, what came in time has not been read yet. Event
# loops look at their sockets between two timers, unless both are due at once.
ONE_TURN = 0.001


class Countdown:
    """Calls a function when its seconds have passed; can be paused. Keeps no reference to it once stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._on_end: Callable[[], None] | None = None
        self._end = self._left = 0.0
        self._is_paused = False

    @property
    def is_running(self) -> bool:
        """Whether it has been started, and neither stopped nor come to its end; a pause does not matter."""
        return self._on_end is not None

    def start(self, seconds: float, on_end: Callable[[], None]) -> None:
        """Begins anew."""
        self.stop()
        self._on_end = on_end
        self._left = seconds
        if not self._is_paused:
            self._go_on()

    def stop(self) -> None:
        """Forgets the function."""
        self._on_end = None
        self._cancel()

    def pause(self) -> None:
        """Stops the clock, for what is running now or is started before ``resume``."""
        self._is_paused = True
        if self._timer is not None:
            self._left = max(0.0, self._end - self._loop.time())
            self._cancel()

    def resume(self) -> None:
        """Lets the clock go on."""
        self._is_paused = False
        if self._on_end is not None:
            self._go_on()

    def _go_on(self) -> None:
        self._end = self._loop.time() + self._left
        self._timer = self._loop.call_later(self._left, self._pass_one_turn)

    def _pass_one_turn(self) -> None:
        self._timer = self._loop.call_later(ONE_TURN, self._finish)

    def _finish(self) -> None:
        on_end = self._on_end
        self.stop()
        if on_end is not None:
            on_end()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class TimedFlow(FlowControl):
    """Uvicorn's flow control, which pauses the client's countdown while it pauses reading."""

    def __init__(self, transport: asyncio.Transport, countdown: Countdown) -> None:
        super().__init__(transport)
        self._countdown = countdown

    def pause_reading(self) -> None:
        """Reads no more for now."""
        if not self.read_paused:
            self._countdown.pause()
        super().pause_reading()

    def resume_reading(self) -> None:
        """Reads again."""
        if self.read_paused:
            self._countdown.resume()
        super().resume_reading()
