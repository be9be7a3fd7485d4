"""Sends a response's head and its first body part in one write: a packet less, a system call less, one wake-up."""

import asyncio


class HeaderCoalescingTransport:
    """A transport for one request-response cycle of uvicorn. Its first write, the head, waits for the second.

    ASGI allows this: a server need not send anything before the first event with some of the body.
    """

    __slots__ = ("_head", "_transport", "_written")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        self._written = False

    def write(self, data: bytes) -> None:
        """Holds the first write back, and sends it together with the second."""
        if not self._written:
            self._written = True
            self._head = data
        elif self._head is None:
            self._transport.write(data)
        else:
            head, self._head = self._head, None
            self._transport.writelines((head, data))

    def close(self) -> None:
        """Sends a held head, and closes the connection once all is sent."""
        if self._head is not None:
            self._transport.write(self._head)
            self._head = None
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is closing or closed."""
        return self._transport.is_closing()
