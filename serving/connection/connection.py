"""Rejects slow, endless and invalid requests with a JSON error, before they reach the application.

Uvicorn waits forever for a request to arrive and keeps all headers, however long. It rejects in plain text and at once,
even where the response to an earlier request is still due.

This is the only module that uses the inside of uvicorn, httptools and llhttp.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from starlette.responses import Response
from uvicorn._types import ASGI3Application
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from serving.connection.client_state import ClientState
from serving.connection.countdown import GRACE_SECONDS, Countdown
from serving.connection.half_close_probe import HalfCloseProbe
from serving.connection.header_coalescing import HeaderCoalescingTransport
from serving.connection.rejections import invalid_host, is_valid_host, not_a_proxy, not_http
from serving.connection.write_timeout import WriteTimeout
from serving.errors import ApiError, client_gone, error_body, too_slow
from serving.http.auth import MAX_ADDRESS_BYTES, MAX_HEADER_BYTES, address_too_long, headers_too_large
from serving.http.request_record import RequestRecord

# Bounds the bytes outside of bodies that may arrive. ``serving.http.auth`` limits the parsed address and headers
# exactly; this leaves space for the bytes that are not counted there.
_MAX_NON_BODY_BYTES = 2 * (MAX_ADDRESS_BYTES + MAX_HEADER_BYTES)

# The headers that determine where a request ends, and whether another one may follow.
_FRAMING = frozenset({b"connection", b"content-length", b"transfer-encoding"})


class Application(Protocol):
    """The part of the application that a connection uses."""

    connections: set[asyncio.Transport]

    def record_rejection(self, error: ApiError, headers: list[tuple[bytes, bytes]], body_bytes: int) -> RequestRecord:
        """Records and counts what was rejected before there was a request."""

    def can_reject_early(self, method: bytes, address: bytes) -> bool:
        """Whether ``reject_early`` may return a response."""

    def reject_early(self, headers: list[tuple[bytes, bytes]], body: bytes) -> Response | None:
        """Returns the rejection of a request that does not fit into a full queue, else ``None``."""


class TimedFlow(FlowControl):
    """Uvicorn's flow control. It pauses the client's countdown while it pauses reading."""

    def __init__(self, transport: asyncio.Transport, countdown: Countdown) -> None:
        super().__init__(transport)
        self._countdown = countdown

    def pause_reading(self) -> None:
        """Stops reading for now."""
        if not self.read_paused:
            self._countdown.pause()
        super().pause_reading()

    def resume_reading(self) -> None:
        """Reads again."""
        if self.read_paused:
            self._countdown.resume()
        super().resume_reading()


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol, with limits on how a request arrives."""

    deadline_seconds: ClassVar[float]
    keep_alive_seconds: ClassVar[float]
    application: ClassVar[Application]
    rejects_early: ClassVar[bool]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts a connection, and the wait for its first request."""
        super().connection_made(transport)
        self.application.connections.add(transport)
        self.timeout_keep_alive = self.keep_alive_seconds  # type: ignore[assignment]
        self._countdown = Countdown(self.loop)
        self.flow = TimedFlow(transport, self._countdown)
        self._write_timeout = WriteTimeout(self.loop, transport, self.deadline_seconds)
        self._half_close_probe: HalfCloseProbe | None = None
        self._client_state = ClientState()
        # Uvicorn formats a log line for every request, and lets the logger drop it.
        self.access_log = self.access_log and self.access_logger.isEnabledFor(logging.INFO)
        # Uvicorn sets both at a request's first byte; input that is not HTTP may have none.
        self.url, self.headers = b"", []
        # The body so far of a request that may be rejected early: no cycle exists for it yet.
        self._held_body: bytes | None = None
        # Of a request that offers an upgrade: its address, and the number of its headers. See ``_parse``.
        self._upgrade_offer: tuple[bytes, int] | None = None
        # The last well-formed ``Host``: a client's requests usually repeat it.
        self._valid_hosts: list[bytes] | None = None
        # The request that is being answered. Uvicorn's ``cycle`` is the one that arrived last.
        self._current_cycle: RequestResponseCycle | None = None
        # Why the head or body that is being parsed is rejected.
        self._parse_error: Callable[[], ApiError] | None = None
        # A rejection that is sent after the responses to earlier requests.
        self._pending_error: Callable[[], ApiError] | None = None
        # Whether all further input is ignored: the connection ends with the last response that is due.
        self._ignores_input = False
        # Bytes received since the request began that are not in its body: its head, or data after its body.
        self._non_body_bytes = 0
        self._is_reading_head = self._is_receiving = True
        # Before its first byte a connection is as idle as between two requests: a shorter deadline does not apply.
        self._start_countdown(max(self.deadline_seconds, self.timeout_keep_alive))

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the connection."""
        self._countdown.stop()
        self._write_timeout.stop()
        if self._half_close_probe is not None:
            self._half_close_probe.stop()
            self._half_close_probe = None
        self._unset_keepalive_if_required()
        self.application.connections.discard(self.transport)
        super().connection_lost(exc)
        if self._current_cycle is not None:
            self._current_cycle.disconnected = True
        self._client_state.end(client_gone)

    def data_received(self, data: bytes) -> None:
        """Handles bytes of one or several requests. Empty lines between two requests change nothing."""
        if self._ignores_input:
            return
        self._non_body_bytes += len(data)
        try:
            self._parse(data)
        except HttpParserError:
            self._reject(self._parse_error or self._not_http_error())
            return
        if self._held_body is not None:
            self._release_held()
        if not self._is_receiving:
            self._countdown.stop()
        elif self._non_body_bytes > _MAX_NON_BODY_BYTES:
            self._reject(address_too_long if len(self.url) > MAX_ADDRESS_BYTES else headers_too_large)
        elif not self._countdown.is_running:
            self._start_countdown(self.deadline_seconds)

    def _parse(self, data: bytes) -> None:
        """Parses requests. Raises ``HttpParserError`` for invalid ones, and for those that set ``_parse_error``.

        A client may offer to continue in another protocol, such as HTTP/2, and gets its response in this one. But
        llhttp stops after the head of such a request, and httptools then expects another request where the body begins.
        So a new parser gets a second head: the lines of the first that determine where the body ends, and no offer.
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
        """Handles a client that sends no more. It may still read: complete requests get their responses."""
        arriving = self._arriving_cycle()
        if arriving is not None and not arriving.response_complete:
            if arriving is self._current_cycle:
                return False  # which closes the connection: half a body is of no use
            self.pipeline.popleft()
        self._ignores_input, self._is_receiving = True, False
        self._countdown.stop()
        current = self._current_cycle
        # TLS transports cannot be half-closed.
        if current is None or current.response_complete or self.scheme == "https":
            return False
        self.cycle.keep_alive = False
        if current.scope["http_version"] == "1.1":
            self._half_close_probe = HalfCloseProbe(self.loop, self.transport, self._may_send_interim)
        return True

    def _may_send_interim(self) -> bool:
        return self._current_cycle is not None and not self._current_cycle.response_started

    def pause_writing(self) -> None:
        """Starts the write timeout: the client reads more slowly than data is written."""
        super().pause_writing()
        self._write_timeout.start()

    def resume_writing(self) -> None:
        """Stops the write timeout: the client has read most of the data."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._write_timeout.stop()

    def on_message_begin(self) -> None:
        """Handles the first byte of a request."""
        if self._upgrade_offer is not None:
            return
        super().on_message_begin()
        self._countdown.stop()
        # A response in the same event-loop turn may have started the keep-alive timer.
        self._unset_keepalive_if_required()
        self._client_state.attach(self.scope)  # type: ignore[arg-type]
        self._non_body_bytes = 0
        self._is_reading_head = self._is_receiving = True

    def on_headers_complete(self) -> None:
        """Handles the end of a request's head."""
        if self._upgrade_offer is not None:
            self.url, count = self._upgrade_offer
            del self.headers[count:]
            self._upgrade_offer = None
            return
        hosts = [value for name, value in self.headers if name == b"host"]
        if hosts != self._valid_hosts:
            self._check_host(hosts)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._stop_parsing(not_a_proxy)
            self._upgrade_offer = self.url, len(self.headers)
        self._is_reading_head = False
        if self._can_reject_early():
            self._held_body = b""
        else:
            self._begin_cycle()

    def on_body(self, body: bytes) -> None:
        """Handles a part of a request's body."""
        self._non_body_bytes = 0
        if self._held_body is None:
            super().on_body(body)
        else:
            self._held_body += body

    def on_message_complete(self) -> None:
        """Handles the end of a request."""
        if self._upgrade_offer is not None:
            return
        self._is_receiving = False
        if self._held_body is not None:
            response = self.application.reject_early(self.headers, self._held_body)
            if response is not None:
                self._held_body = None
                self._write(response.status_code, response.raw_headers, response.body)
                self.on_response_complete()
                return
            self._release_held()
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
        # A response without a body is sent by its first write alone, and so is "100 Continue".
        if self.parser.get_method() != b"HEAD" and not self.expect_100_continue:
            self.cycle.transport = HeaderCoalescingTransport(self.transport)  # type: ignore[assignment]

    def _release_held(self) -> None:
        """Passes a held request on to the application."""
        held, self._held_body = self._held_body, None
        self._begin_cycle()
        if held:
            super().on_body(held)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._current_cycle = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Handles the end of a response: the next one is due, or the connection is idle."""
        super().on_response_complete()
        if self._is_receiving:
            # The connection is not idle: the next request's head is arriving, and has its own countdown.
            self._unset_keepalive_if_required()
        if self._ignores_input and (self._current_cycle is None or self._current_cycle.response_complete):
            self._finish()
        if self.transport.is_closing():
            self._write_timeout.start()

    def _finish(self) -> None:
        """Writes the pending error, if there is one, and closes the connection."""
        if self._pending_error is not None and not self.transport.is_closing():
            self._write_error(self._pending_error())
        self._close()

    def _close(self) -> None:
        self.transport.close()
        self._write_timeout.start()

    def _check_host(self, hosts: list[bytes]) -> None:
        if len(hosts) == 1 and is_valid_host(hosts[0]):
            self._valid_hosts = hosts
        elif hosts or self.parser.get_http_version() == "1.1":
            self._stop_parsing(invalid_host)

    def _stop_parsing(self, create_error: Callable[[], ApiError]) -> None:
        """Stops the parser from within one of its callbacks."""
        self._parse_error = create_error
        raise create_error()

    def _not_http_error(self) -> Callable[[], ApiError]:
        return address_too_long if len(self.url) > MAX_ADDRESS_BYTES else not_http

    def _should_upgrade(self) -> bool:
        # No other protocol is supported.
        return False

    def _start_countdown(self, seconds: float) -> None:
        self._countdown.start(seconds, self._time_out)

    def timeout_keep_alive_handler(self) -> None:
        """Closes a connection that has been idle between two requests, after a grace period."""
        self.timeout_keep_alive_task = self.loop.call_later(GRACE_SECONDS, self._close)

    def _time_out(self) -> None:
        if self.scope is None:
            # Browsers open connections that they may never use.
            self._close()
        else:
            self._reject(partial(too_slow, self.deadline_seconds))

    def _arriving_cycle(self) -> RequestResponseCycle | None:
        """Returns the cycle of the request that is arriving, once its head is complete."""
        return self.cycle if self._is_receiving and not self._is_reading_head and self._held_body is None else None

    def _reject(self, create_error: Callable[[], ApiError]) -> None:
        """Rejects the arriving request after the responses before it, and ignores all that follows."""
        arriving = self._arriving_cycle()
        self._ignores_input, self._is_receiving = True, False
        self._held_body = None
        self._countdown.stop()
        if arriving is not None and not arriving.response_complete:
            arriving.keep_alive = False
            if arriving is self._current_cycle:
                # The handler that reads the body gets the error, and responds.
                self._client_state.end(create_error)
                return
            self.pipeline.popleft()
        # Once the response is complete, nobody needs the rest of the body, or an error about it.
        if arriving is None or not arriving.response_complete:
            self._pending_error = create_error
        if self._current_cycle is None or self._current_cycle.response_complete:
            self._finish()

    def _write_error(self, error: ApiError) -> None:
        body = json.dumps(error_body(error, self.url.partition(b"?")[0].decode("latin-1"))).encode()
        record = self.application.record_rejection(error, self.headers, len(body))
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


def limit_connections(
    application: Application, *, rejects_early: bool, deadline_seconds: float, keep_alive_seconds: float
) -> None:
    """Makes uvicorn use ``Connection``. BentoML starts uvicorn and has no setting for it: changes uvicorn's default.

    Within the deadline, a request must arrive completely, and some of a response must be read. ``application`` counts
    all rejections before there is a request. With ``rejects_early``, it may reject a request that does not fit into a
    full queue before that request exists. A connection that is idle for ``keep_alive_seconds`` is closed.
    """
    Connection.deadline_seconds = deadline_seconds
    Connection.keep_alive_seconds = keep_alive_seconds
    Connection.rejects_early = rejects_early
    Connection.application = application
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"
