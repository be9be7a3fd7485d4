"""An answer's head goes with the first of its body: two packets are two system calls, and wake the client twice."""

import asyncio


class HeaderCoalescingTransport:
    """A transport as uvicorn's cycle of one request uses it: its first write, the head, waits for the second.

    ASGI allows that: a server need not send anything before the first event with some of the body.
    """

    __slots__ = ("_head", "_transport", "_written")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        self._written = False

    def write(self, data: bytes) -> None:
        """Sends all but the head, and that with what comes next."""
        if not self._written:
            self._written = True
            self._head = data
        elif self._head is None:
            self._transport.write(data)
        else:
            head, self._head = self._head, None
            self._transport.writelines((head, data))

    def close(self) -> None:
        """Ends the connection once all is sent."""
        if self._head is not None:
            self._transport.write(self._head)
            self._head = None
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection ends or has ended."""
        return self._transport.is_closing()
