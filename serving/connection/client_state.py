"""Whether a client is still there, so that nobody works for one who has gone, or waits for one who does not go on.

ASGI tells that to a task that waits for it: one more for each request. A connection knows it for nothing.
"""

import asyncio
from collections.abc import Callable

from starlette.types import Scope

from serving.errors import ApiError

_PRESENCE = "presence"


class ClientState:
    """The client at the other end of a connection, whose requests are answered one after the other."""

    def __init__(self) -> None:
        self.why_ended: Callable[[], ApiError] | None = None
        self._watcher: Callable[[], object] | None = None

    def end(self, why: Callable[[], ApiError]) -> None:
        """Nothing more is to be done for this client. ``why`` makes the error that says so, a new one for each request:
        one that is kept would keep all that it passed through.
        """
        self.why_ended = why
        if self._watcher is not None:
            self._watcher()

    def watch(self, watcher: Callable[[], object] | None) -> None:
        """Has ``watcher`` called at the end; there is one at a time."""
        self._watcher = watcher

    def tell(self, scope: Scope) -> None:
        """Is there for a request of this client's."""
        scope["state"][_PRESENCE] = self


def check_client_waits(scope: Scope) -> None:
    """Raises ``ApiError`` if the client has gone, or what it sent has turned out to be no request."""
    presence: ClientState = scope["state"][_PRESENCE]
    if presence.why_ended is not None:
        raise presence.why_ended()


class cancel_on_disconnect:  # noqa: N801 - a context manager
    """Cancels what the task does inside when its client goes, or sends no HTTP or too slowly: ``ApiError``."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._presence: ClientState = scope["state"][_PRESENCE]

    def __enter__(self) -> None:
        check_client_waits(self._scope)
        task = asyncio.current_task()
        assert task is not None
        self._uncancel = task.uncancel
        self._presence.watch(task.cancel)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._presence.watch(None)
        if self._presence.why_ended is not None and kind is asyncio.CancelledError:
            self._uncancel()
            raise self._presence.why_ended() from None
