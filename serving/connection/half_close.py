"""Whether a client that sends no more (a FIN) has gone or still reads: both look the same until something is sent.

An HTTP/1.1 client skips interim answers that it did not ask for (RFC 9110, 15.2). The system of one that has closed its
socket answers them with a reset.
"""

import asyncio
import socket
from collections.abc import Callable

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# Most answers are ready before the first look, and their clients get nothing but them.
_FIRST_PAUSE = 0.01


class HalfClose:
    """Looks for a reset, with growing pauses, and sends an interim answer before every second look."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, may_send: Callable[[], bool]
    ) -> None:
        """``may_send`` tells whether no part of the final answer has been written."""
        self._loop = loop
        self._transport = transport
        self._may_send = may_send
        self._wait(_FIRST_PAUSE, True)

    def stop(self) -> None:
        """Looks no more."""
        self._timer.cancel()

    def _wait(self, pause: float, sends: bool) -> None:
        self._timer = self._loop.call_later(pause, self._look, pause, sends)

    def _look(self, pause: float, sends: bool) -> None:
        if self._transport.is_closing():
            return
        # Neither asyncio nor uvloop watches a socket behind its end of file.
        if self._transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._transport.abort()
            return
        if sends and self._may_send():
            self._transport.write(_CONTINUE)
        self._wait(2 * pause, not sends)
