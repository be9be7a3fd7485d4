"""A client's connection, before there is a request: whoever is slow, endless or no HTTP is refused, in JSON.

Uvicorn waits for ever for a request to arrive, keeps whatever is sent of its headers, and refuses in plain text.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Callable
from functools import partial
from typing import ClassVar

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.admission import MAX_ADDRESS_BYTES, MAX_HEADER_BYTES, address_too_long, headers_too_large
from serving.errors import Refusal, RequestError, client_gone, too_slow
from serving.oip_paths import error_body
from serving.presence import Presence

# Admission measures what has arrived; this bounds what may, and so leaves room for all that is not measured there.
_MAX_LOOSE_BYTES = 2 * (MAX_ADDRESS_BYTES + MAX_HEADER_BYTES)


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol, with limits on how a request arrives."""

    seconds: ClassVar[float]
    count_refused: ClassVar[Callable[[int], None]]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection begins, and with it the time for its first request."""
        super().connection_made(transport)
        self._presence = Presence()
        # Uvicorn writes a line for its log at every request, and lets the logger drop it.
        self.access_log = self.access_log and self.access_logger.isEnabledFor(logging.INFO)
        self.url = b""
        # Those since a request's beginning that are not of its body: its head, or what may follow its body.
        self._loose_bytes = 0
        self._head_is_open = self._is_arriving = True
        self._timer: asyncio.TimerHandle | None = None
        self._limit_time()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._stop_timer()
        super().connection_lost(exc)
        self._presence.end(client_gone)

    def data_received(self, data: bytes) -> None:
        """Some bytes, of one request or of several."""
        self._loose_bytes += len(data)
        super().data_received(data)
        if not self._is_arriving:
            self._stop_timer()
        elif self._loose_bytes > _MAX_LOOSE_BYTES:
            self._refuse(address_too_long() if len(self.url) > MAX_ADDRESS_BYTES else headers_too_large())
        elif self._timer is None:
            self._limit_time()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._presence.tell(self.scope)  # type: ignore[arg-type]
        self._loose_bytes = 0
        self._head_is_open = self._is_arriving = True

    def on_headers_complete(self) -> None:
        """A request's head is read."""
        self._head_is_open = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of a request's body."""
        self._loose_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is read."""
        self._is_arriving = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuses what the parser cannot follow."""
        if len(self.url) > MAX_ADDRESS_BYTES:
            self._refuse(address_too_long())
        else:
            self._refuse(RequestError(Refusal.NOT_HTTP, "This is not a request that HTTP/1.1 allows."))

    def _should_upgrade(self) -> bool:
        # There is nothing here that speaks another protocol; the request is answered as if it had not asked for one.
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Says nothing: the log is not for clients to fill."""

    def _limit_time(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self._is_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_late(self) -> None:
        self._timer = None
        if self.scope is None:
            # Browsers open connections that they may never use.
            self.transport.close()
        elif self._head_is_open:
            self._refuse(too_slow(self.seconds))
        elif self.cycle.response_complete:
            # What still comes of the body is for nobody.
            self.transport.close()
        else:
            # Whoever reads the body is told, and answers.
            self._presence.end(partial(too_slow, self.seconds))

    def _refuse(self, error: RequestError) -> None:
        self._is_arriving = False
        self._stop_timer()
        if self.transport.is_closing():
            return
        body = json.dumps(error_body(error, self.url.partition(b"?")[0].decode("latin-1"))).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", uuid.uuid4().hex.encode()),
            (b"connection", b"close"),
        ]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join((STATUS_LINE[error.status], *lines, b"\r\n", body)))
        self.transport.close()
        type(self).count_refused(error.status)


def limit_connections(seconds: float, count_refused: Callable[[int], None]) -> None:
    """Has uvicorn use ``Connection``, with so many seconds for a request to arrive.

    BentoML, which starts uvicorn, has no setting for that, so this changes what uvicorn takes when none is made.
    ``count_refused`` is called with the status of whatever is refused before it is a request.
    """
    Connection.seconds = seconds
    Connection.count_refused = staticmethod(count_refused)
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"
