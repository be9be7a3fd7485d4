"""Limits the time in which a client reads nothing of its response: the response stays in memory until it is read."""

import asyncio
import fcntl
import struct
import termios


class WriteTimeout:
    """Aborts a transport that has unsent data and has made no progress for some seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, seconds: float) -> None:
        self._loop = loop
        self._transport = transport
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._unread = 0

    def start(self) -> None:
        """Starts to watch, until all is sent or ``stop`` is called."""
        if self._timer is None and self._transport.get_write_buffer_size():
            self._unread = _unread_bytes(self._transport)
            self._timer = self._loop.call_later(self._seconds, self._check_progress)

    def stop(self) -> None:
        """Stops watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_progress(self) -> None:
        self._timer = None
        if self._transport.get_write_buffer_size() and _unread_bytes(self._transport) >= self._unread:
            self._transport.abort()
        else:
            self.start()


def _unread_bytes(transport: asyncio.Transport) -> int:
    """Returns the number of bytes that the client's system has not acknowledged.

    The transport's own buffer does not show the progress of a slow reader: the kernel holds some megabytes, and takes
    more only when much of that is gone.
    """
    buffered = transport.get_write_buffer_size()
    connection = transport.get_extra_info("socket")
    if connection is None:
        return buffered
    try:
        (in_kernel,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
    except OSError:
        return buffered
    return buffered + int(in_kernel)
