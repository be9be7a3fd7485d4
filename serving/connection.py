"""A client's connection, before there is a request: whoever is slow, endless or no HTTP is refused, in JSON.

Uvicorn waits for ever for a request to arrive, keeps whatever is sent of its headers, and refuses in plain text.
"""

import asyncio
import json
import logging
import uuid
from functools import partial
from typing import ClassVar

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.admission import MAX_ADDRESS_BYTES, MAX_HEADER_BYTES, address_too_long, headers_too_large
from serving.app import Application
from serving.corked import Corked
from serving.errors import Refusal, RequestError, client_gone, too_slow
from serving.oip_paths import error_body
from serving.presence import Presence

# Admission measures what has arrived; this bounds what may, and so leaves room for all that is not measured there.
_MAX_LOOSE_BYTES = 2 * (MAX_ADDRESS_BYTES + MAX_HEADER_BYTES)

# Seconds, for which a wait that is over goes on: if the loop was away, what came in time has not been read. Event loops
# look at their connections between two timers, if those are not due at once.
_ONE_TURN = 0.001


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol, with limits on how a request arrives."""

    seconds: ClassVar[float]
    application: ClassVar[Application]
    sheds: ClassVar[bool]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection begins, and with it the wait for its first request."""
        super().connection_made(transport)
        self._presence = Presence()
        # Uvicorn writes a line for its log at every request, and lets the logger drop it.
        self.access_log = self.access_log and self.access_logger.isEnabledFor(logging.INFO)
        self.url = b""
        self._held: bytes | None = None
        # Those since a request's beginning that are not of its body: its head, or what may follow its body.
        self._loose_bytes = 0
        self._head_is_open = self._is_arriving = True
        self._timer: asyncio.TimerHandle | None = None
        # Until its first byte it is as idle as between two requests: a short limit is not for a client that is busy.
        self._limit_time(max(self.seconds, self.timeout_keep_alive))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._stop_timer()
        super().connection_lost(exc)
        self._presence.end(client_gone)

    def data_received(self, data: bytes) -> None:
        """Some bytes, of one request or of several."""
        self._loose_bytes += len(data)
        super().data_received(data)
        if self._held is not None:
            self._let_in()
        if not self._is_arriving:
            self._stop_timer()
        elif self._loose_bytes > _MAX_LOOSE_BYTES:
            self._refuse(address_too_long() if len(self.url) > MAX_ADDRESS_BYTES else headers_too_large())
        elif self._timer is None:
            self._limit_time(self.seconds)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._stop_timer()
        # The answer to one that came in the same bytes may have begun the wait for this one.
        self._unset_keepalive_if_required()
        self._presence.tell(self.scope)  # type: ignore[arg-type]
        self._loose_bytes = 0
        self._head_is_open = self._is_arriving = True

    def on_headers_complete(self) -> None:
        """A request's head is read."""
        self._head_is_open = False
        if self._may_shed():
            self._held = b""
        else:
            self._begin_cycle()

    def on_body(self, body: bytes) -> None:
        """Some of a request's body."""
        self._loose_bytes = 0
        if self._held is None:
            super().on_body(body)
        else:
            self._held += body

    def on_message_complete(self) -> None:
        """A request is read."""
        self._is_arriving = False
        if self._held is not None:
            response = self.application.shed(self.headers, self._held)
            if response is not None:
                self._held = None
                self._write(response.status_code, response.raw_headers, response.body)
                self.on_response_complete()
                return
            self._let_in()
        super().on_message_complete()

    def _may_shed(self) -> bool:
        return (
            self.sheds
            and self.application.may_shed(self.parser.get_method(), self.url)
            and (self.cycle is None or self.cycle.response_complete)
            and self.parser.should_keep_alive()
            and not (self.access_log or self.expect_100_continue or self.flow.write_paused)
        )

    def _begin_cycle(self) -> None:
        super().on_headers_complete()
        # What has no body is sent by its first write alone, as is the word to go on.
        if self.parser.get_method() != b"HEAD" and not self.expect_100_continue:
            self.cycle.transport = Corked(self.transport)  # type: ignore[assignment]

    def _let_in(self) -> None:
        """Makes a request of what has been held back."""
        held, self._held = self._held, None
        self._begin_cycle()
        if held:
            super().on_body(held)

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

    def _limit_time(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._may_be_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Between two requests it has been idle for long."""
        self.timeout_keep_alive_task = self.loop.call_later(_ONE_TURN, super().timeout_keep_alive_handler)

    def _may_be_late(self) -> None:
        self._timer = self.loop.call_later(_ONE_TURN, self._is_late)

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
        self._held = None
        self._stop_timer()
        if self.transport.is_closing():
            return
        body = json.dumps(error_body(error, self.url.partition(b"?")[0].decode("latin-1"))).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", uuid.uuid4().hex.encode()),
            (b"connection", b"close"),
        ]
        self._write(error.status, headers, body)
        self.transport.close()
        self.application.count_refused(error.status)

    def _write(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes | memoryview) -> None:
        lines = [name + b": " + value + b"\r\n" for name, value in (*self.server_state.default_headers, *headers)]
        self.transport.write(b"".join((STATUS_LINE[status], *lines, b"\r\n", body)))


def limit_connections(seconds: float, application: Application, sheds: bool) -> None:
    """Has uvicorn use ``Connection``, with so many seconds for a request to arrive.

    BentoML, which starts uvicorn, has no setting for that, so this changes what uvicorn takes when none is made.
    ``application`` is told of whatever is refused before it is a request; with ``sheds``, so is what it would refuse
    for want of room.
    """
    Connection.seconds = seconds
    Connection.sheds = sheds
    Connection.application = application
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"
