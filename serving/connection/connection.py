"""A client's connection, before there is a request: whoever is slow, endless or no HTTP is refused, in JSON.

Uvicorn waits for ever for a request to arrive, keeps whatever is sent of its headers, and refuses in plain text, at
once, even where the answer to an earlier request is still due.
"""

import asyncio
import json
import logging
import re
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from starlette.responses import Response
from uvicorn._types import ASGI3Application
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from serving.connection.client_state import ClientState
from serving.connection.countdown import ONE_TURN, Countdown, TimedFlow
from serving.connection.half_close import HalfClose
from serving.connection.header_coalescing import HeaderCoalescingTransport
from serving.connection.write_timeout import WriteTimeout
from serving.errors import ApiError, ErrorCode, client_gone, error_body, too_slow
from serving.http.auth import MAX_ADDRESS_BYTES, MAX_HEADER_BYTES, address_too_long, headers_too_large
from serving.http.request_record import RequestRecord

# Admission measures what has arrived; this bounds what may, and so leaves room for all that is not measured there.
_MAX_LOOSE_BYTES = 2 * (MAX_ADDRESS_BYTES + MAX_HEADER_BYTES)

# RFC 9112, 3.2: a name or an address (in brackets, if it is IPv6), and perhaps a port.
_HOST = re.compile(rb"(?:\[[\w.:%~-]+\]|[\w.~!$&'()*+,;=%-]*)(?::[0-9]*)?", re.ASCII)

# The headers that tell where a request ends, and whether another one may follow.
_FRAMING = frozenset({b"connection", b"content-length", b"transfer-encoding"})


class Application(Protocol):
    """What a connection needs of the application that answers its requests."""

    connections: set[asyncio.Transport]

    def record_rejection(self, error: ApiError) -> RequestRecord:
        """Records and counts what was rejected before there was a request."""

    def can_reject_early(self, method: bytes, address: bytes) -> bool:
        """Whether ``reject_early`` may have an answer."""

    def reject_early(self, headers: list[tuple[bytes, bytes]], body: bytes) -> Response | None:
        """The refusal of a request that a full queue has no room for; ``None`` for all others."""


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol, with limits on how a request arrives."""

    seconds: ClassVar[float]
    keep_alive_seconds: ClassVar[float]
    application: ClassVar[Application]
    rejects_early: ClassVar[bool]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection begins, and with it the wait for its first request."""
        super().connection_made(transport)
        self.application.connections.add(transport)
        self.timeout_keep_alive = self.keep_alive_seconds  # type: ignore[assignment]
        self._countdown = Countdown(self.loop)
        self.flow = TimedFlow(transport, self._countdown)
        self._write_timeout = WriteTimeout(self.loop, transport, self.seconds)
        self._half_close: HalfClose | None = None
        self._presence = ClientState()
        # Uvicorn writes a line for its log at every request, and lets the logger drop it.
        self.access_log = self.access_log and self.access_logger.isEnabledFor(logging.INFO)
        self.url = b""
        self._held: bytes | None = None
        # Of a request that offers an upgrade: its address, and the number of its headers. See ``_parse``.
        self._offer: tuple[bytes, int] | None = None
        # The last ``Host`` that was well-formed: a client's requests have the same.
        self._known_hosts: list[bytes] | None = None
        # The request that is being answered; ``cycle`` is the one that has arrived last.
        self._running: RequestResponseCycle | None = None
        # Why the head or the body that is being parsed is refused, and a refusal that earlier answers come before.
        self._fault: Callable[[], ApiError] | None = None
        self._due: Callable[[], ApiError] | None = None
        # Whether nothing that still comes is looked at: the connection ends with the last answer that is due.
        self._is_last = False
        # Those since a request's beginning that are not of its body: its head, or what may follow its body.
        self._loose_bytes = 0
        self._head_is_open = self._is_arriving = True
        # Until its first byte it is as idle as between two requests: a short limit is not for a client that is busy.
        self._limit_time(max(self.seconds, self.timeout_keep_alive))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._countdown.stop()
        self._write_timeout.stop()
        if self._half_close is not None:
            self._half_close.stop()
            self._half_close = None
        self._unset_keepalive_if_required()
        self.application.connections.discard(self.transport)
        super().connection_lost(exc)
        if self._running is not None:
            self._running.disconnected = True
        self._presence.end(client_gone)

    def data_received(self, data: bytes) -> None:
        """Some bytes, of one request or of several; empty lines between two of them are neither, and change nothing."""
        if self._is_last:
            return
        self._loose_bytes += len(data)
        try:
            self._parse(data)
        except HttpParserError:
            self._refuse(self._fault or self._why_no_http())
            return
        if self._held is not None:
            self._let_in()
        if not self._is_arriving:
            self._countdown.stop()
        elif self._loose_bytes > _MAX_LOOSE_BYTES:
            self._refuse(address_too_long if len(self.url) > MAX_ADDRESS_BYTES else headers_too_large)
        elif not self._countdown.is_running:
            self._limit_time(self.seconds)

    def _parse(self, data: bytes) -> None:
        """Raises ``HttpParserError`` for anything but requests, and for those that set ``_fault``.

        A client may offer to go on in another protocol, such as HTTP/2, and is answered in this one. But llhttp stops
        behind the head of such a request, and httptools then expects another request where the body begins. So a new
        parser gets a second head, with the lines of the first that tell where the body ends, and no offer.
        """
        rest: bytes | memoryview = data
        while True:
            try:
                self.parser.feed_data(rest)
                return
            except HttpParserUpgrade as stopped:
                rest = memoryview(rest)[stopped.args[0] :]
                first = b"%s / HTTP/%s" % (self.parser.get_method(), self.parser.get_http_version().encode())
                lines = [name + b": " + value for name, value in self.headers if name in _FRAMING]
                self.parser = HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
                self.parser.feed_data(b"\r\n".join([first, *lines, b"", b""]))

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. What has arrived whole is answered: it may still read."""
        own = self._own_cycle()
        if own is not None and not own.response_complete:
            if own is self._running:
                return False  # which closes the connection: half a body is of no use
            self.pipeline.popleft()
        self._is_last, self._is_arriving = True, False
        self._countdown.stop()
        running = self._running
        # What reads from TLS has no half-closed connections.
        if running is None or running.response_complete or self.scheme == "https":
            return False
        self.cycle.keep_alive = False
        if running.scope["http_version"] == "1.1":
            self._half_close = HalfClose(self.loop, self.transport, self._nothing_is_written)
        return True

    def _nothing_is_written(self) -> bool:
        return self._running is not None and not self._running.response_started

    def pause_writing(self) -> None:
        """The client does not read as fast as it is written to."""
        super().pause_writing()
        self._write_timeout.start()

    def resume_writing(self) -> None:
        """The client has read most of it."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._write_timeout.stop()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._offer is not None:
            return
        super().on_message_begin()
        self._countdown.stop()
        # The answer to one that came in the same bytes may have begun the wait for this one.
        self._unset_keepalive_if_required()
        self._presence.tell(self.scope)  # type: ignore[arg-type]
        self._loose_bytes = 0
        self._head_is_open = self._is_arriving = True

    def on_headers_complete(self) -> None:
        """A request's head is read."""
        if self._offer is not None:
            self.url, count = self._offer
            del self.headers[count:]
            self._offer = None
            return
        hosts = [value for name, value in self.headers if name == b"host"]
        if hosts != self._known_hosts:
            self._check_host(hosts)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._reject(_no_proxy)
            self._offer = self.url, len(self.headers)
        self._head_is_open = False
        if self._can_reject_early():
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
        if self._offer is not None:
            return
        self._is_arriving = False
        if self._held is not None:
            response = self.application.reject_early(self.headers, self._held)
            if response is not None:
                self._held = None
                self._write(response.status_code, response.raw_headers, response.body)
                self.on_response_complete()
                return
            self._let_in()
        super().on_message_complete()

    def _can_reject_early(self) -> bool:
        return (
            self.rejects_early
            and self.application.can_reject_early(self.parser.get_method(), self.url)
            and (self.cycle is None or self.cycle.response_complete)
            and self.parser.should_keep_alive()
            and not (self.access_log or self.expect_100_continue or self.flow.write_paused)
        )

    def _begin_cycle(self) -> None:
        super().on_headers_complete()
        # What has no body is sent by its first write alone, as is the word to go on.
        if self.parser.get_method() != b"HEAD" and not self.expect_100_continue:
            self.cycle.transport = HeaderCoalescingTransport(self.transport)  # type: ignore[assignment]

    def _let_in(self) -> None:
        """Makes a request of what has been held back."""
        held, self._held = self._held, None
        self._begin_cycle()
        if held:
            super().on_body(held)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """An answer is written: the next one is due, or the connection is idle."""
        super().on_response_complete()
        if self._is_last and (self._running is None or self._running.response_complete):
            self._finish()
        if self.transport.is_closing():
            self._write_timeout.start()

    def _finish(self) -> None:
        """Writes the refusal that may be due, and closes the connection."""
        if self._due is not None and not self.transport.is_closing():
            self._write_refusal(self._due())
        self._close()

    def _close(self) -> None:
        self.transport.close()
        self._write_timeout.start()

    def _check_host(self, hosts: list[bytes]) -> None:
        if len(hosts) == 1 and _HOST.fullmatch(hosts[0]):
            self._known_hosts = hosts
        elif hosts or self.parser.get_http_version() == "1.1":
            self._reject(_no_host)

    def _reject(self, why: Callable[[], ApiError]) -> None:
        """Has the parser stop."""
        self._fault = why
        raise why()

    def _why_no_http(self) -> Callable[[], ApiError]:
        return address_too_long if len(self.url) > MAX_ADDRESS_BYTES else _no_http

    def _should_upgrade(self) -> bool:
        # There is nothing here that speaks another protocol.
        return False

    def _limit_time(self, seconds: float) -> None:
        self._countdown.start(seconds, self._be_late)

    def timeout_keep_alive_handler(self) -> None:
        """Between two requests it has been idle for long."""
        self.timeout_keep_alive_task = self.loop.call_later(ONE_TURN, self._close)

    def _be_late(self) -> None:
        if self.scope is None:
            # Browsers open connections that they may never use.
            self._close()
        else:
            self._refuse(partial(too_slow, self.seconds))

    def _own_cycle(self) -> RequestResponseCycle | None:
        """That of the request which is arriving, once its head is read."""
        return self.cycle if self._is_arriving and not self._head_is_open and self._held is None else None

    def _refuse(self, why: Callable[[], ApiError]) -> None:
        """Refuses the request that is arriving, in its turn, and all that may follow it."""
        own = self._own_cycle()
        self._is_last, self._is_arriving = True, False
        self._held = None
        self._countdown.stop()
        if own is not None and not own.response_complete:
            own.keep_alive = False
            if own is self._running:
                # Whoever reads the body is told, and answers.
                self._presence.end(why)
                return
            self.pipeline.popleft()
        if own is None or not own.response_complete:
            self._due = why
        # Else what still comes of the body is for nobody.
        if self._running is None or self._running.response_complete:
            self._finish()

    def _write_refusal(self, error: ApiError) -> None:
        record = self.application.record_rejection(error)
        body = json.dumps(error_body(error, self.url.partition(b"?")[0].decode("latin-1"))).encode()
        headers = {
            b"content-type": b"application/json",
            b"content-length": str(len(body)).encode(),
            b"x-request-id": record.id,
            **{name.lower().encode(): value.encode() for name, value in error.headers},
            b"connection": b"close",
        }
        self._write(error.status, [*headers.items()], body)

    def _write(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes | memoryview) -> None:
        lines = [name + b": " + value + b"\r\n" for name, value in (*self.server_state.default_headers, *headers)]
        self.transport.write(b"".join((STATUS_LINE[status], *lines, b"\r\n", body)))


def _no_http() -> ApiError:
    return ApiError(ErrorCode.NOT_HTTP, "This is not a request that HTTP/1.1 allows.")


def _no_host() -> ApiError:
    return ApiError(
        ErrorCode.NOT_HTTP, "Host: HTTP/1.1 needs one such header, a name or an address, and perhaps a port."
    )


def _no_proxy() -> ApiError:
    headers = [("Allow", "GET, HEAD, POST")]
    return ApiError(ErrorCode.METHOD_NOT_ALLOWED, "CONNECT: this service is no proxy.", headers=headers)


def limit_connections(
    application: Application, *, rejects_early: bool, deadline_seconds: float, keep_alive_seconds: float
) -> None:
    """Has uvicorn use ``Connection``. Within the deadline, a request must arrive, and some of an answer must be read.

    BentoML, which starts uvicorn, has no setting for that, so this changes what uvicorn takes when none is made.
    ``application`` counts whatever is refused before it is a request; with ``rejects_early``, it may reject a request
    for want of room before it exists. A connection that is idle for longer than ``keep_alive_seconds`` is closed.
    """
    Connection.seconds = deadline_seconds
    Connection.keep_alive_seconds = keep_alive_seconds
    Connection.rejects_early = rejects_early
    Connection.application = application
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"
