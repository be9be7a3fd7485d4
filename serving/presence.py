"""Whether a client is still there, so that nothing is made for one who has gone.

ASGI tells that to a task that waits for it: one more for each request. A connection knows it for nothing.
"""

import asyncio
from collections.abc import Callable

from starlette.types import Scope

from serving.errors import Refusal, RequestError

_PRESENCE = "presence"


class Presence:
    """The client at the other end of a connection, whose requests are answered one after the other."""

    def __init__(self) -> None:
        self._gone = False
        self._watcher: Callable[[], object] | None = None

    def end(self) -> None:
        """The client has gone."""
        self._gone = True
        if self._watcher is not None:
            self._watcher()

    def watch(self, watcher: Callable[[], object]) -> None:
        """Has ``watcher`` called when the client goes, or at once if it has gone."""
        self._watcher = watcher
        if self._gone:
            watcher()

    def unwatch(self) -> None:
        """Has nobody called."""
        self._watcher = None

    def tell(self, scope: Scope) -> None:
        """Is there for a request of this client's."""
        scope["state"][_PRESENCE] = self


class cancelled_if_client_goes:  # noqa: N801 - a context manager
    """Cancels what the task does inside when its client goes. Raises ``RequestError`` in that case."""

    def __init__(self, scope: Scope) -> None:
        self._presence: Presence = scope["state"][_PRESENCE]
        self._gone = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._presence.watch(self._cancel)

    def _cancel(self) -> None:
        self._gone = True
        self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._presence.unwatch()
        if self._gone and kind is asyncio.CancelledError:
            self._task.uncancel()
            raise RequestError(Refusal.DISCONNECTED, "The client has gone.") from None
