"""Knows whether a client still waits, so that work for a disconnected or misbehaving client is cancelled.

ASGI reports a disconnect only to a task that waits for it: one more task per request. A connection knows it for free.
"""

import asyncio
from collections.abc import Callable

from starlette.types import Scope

from serving.errors import ApiError

_SCOPE_KEY = "client_state"


class ClientState:
    """The client at the other end of a connection. Its requests are answered one after the other."""

    def __init__(self) -> None:
        self.create_error: Callable[[], ApiError] | None = None
        self._on_end: Callable[[], object] | None = None

    def end(self, create_error: Callable[[], ApiError]) -> None:
        """Ends all work for this client. ``create_error`` creates the error that gives the reason.

        It creates a new error for each request: a shared one would keep references to all frames it passed through.
        """
        self.create_error = create_error
        if self._on_end is not None:
            self._on_end()

    def set_callback(self, on_end: Callable[[], object] | None) -> None:
        """Sets the one callback that ``end`` calls."""
        self._on_end = on_end

    def attach(self, scope: Scope) -> None:
        """Makes this state available to the handler of one of this client's requests."""
        scope["state"][_SCOPE_KEY] = self


def check_client_waits(scope: Scope) -> None:
    """Raises ``ApiError`` if the client has disconnected, or has sent something other than a request since."""
    client: ClientState = scope["state"][_SCOPE_KEY]
    if client.create_error is not None:
        raise client.create_error()


class cancel_on_disconnect:  # noqa: N801 - a context manager
    """Cancels the task inside when its client disconnects, sends invalid HTTP or is too slow; raises ``ApiError``."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._client: ClientState = scope["state"][_SCOPE_KEY]

    def __enter__(self) -> None:
        check_client_waits(self._scope)
        task = asyncio.current_task()
        assert task is not None
        self._uncancel = task.uncancel
        self._client.set_callback(task.cancel)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._client.set_callback(None)
        if self._client.create_error is not None and kind is asyncio.CancelledError:
            self._uncancel()
            raise self._client.create_error() from None
