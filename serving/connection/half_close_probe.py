"""Detects whether a client that sends no more (a FIN) has gone or still reads: both look the same until data is sent.

HTTP/1.1 clients skip unrequested interim responses (RFC 9110, 15.2). The system of a client that has closed its socket
answers them with a reset.
"""

import asyncio
import socket
from collections.abc import Callable

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# Seconds before the first probe. Most responses are ready earlier, and their clients receive nothing else.
_FIRST_PAUSE = 0.01


class HalfCloseProbe:
    """Checks for a reset with doubling pauses, and sends an interim response before every second check."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, may_send: Callable[[], bool]
    ) -> None:
        """``may_send`` returns whether no part of the final response has been written."""
        self._loop = loop
        self._transport = transport
        self._may_send = may_send
        self._schedule(_FIRST_PAUSE, sends=True)

    def stop(self) -> None:
        """Stops probing."""
        self._timer.cancel()

    def _schedule(self, pause: float, sends: bool) -> None:
        self._timer = self._loop.call_later(pause, self._probe, pause, sends)

    def _probe(self, pause: float, sends: bool) -> None:
        if self._transport.is_closing():
            return
        # Neither asyncio nor uvloop watches a socket after its end of file.
        if self._transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._transport.abort()
            return
        if sends and self._may_send():
            self._transport.write(_CONTINUE)
        self._schedule(2 * pause, not sends)
