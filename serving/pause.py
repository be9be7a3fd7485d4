"""A pause that the event loop makes while requests are refused, so that it has several at each of its turns.

Where more is asked for than the device can make, the loop that refuses the rest takes its time from the cores that
compute. It takes less of it with several requests a turn (docs/performance.md), for a millisecond more until each is
refused. Network drivers do the same, and call it interrupt moderation.
"""

import asyncio
import time

_SECONDS = 0.001


class Pause:
    """For the event loop's thread only."""

    def __init__(self) -> None:
        self._asked = False
        self._has_newcomers = False

    def ask(self) -> None:
        """Has the loop pause before its next turn; once, however often that is asked in one turn."""
        if not self._asked:
            self._asked = True
            asyncio.get_running_loop().call_soon(self._take)

    def count_connection(self) -> None:
        """Skips the next pause: libuv takes one new connection a turn, and others may be waiting behind this one."""
        self._has_newcomers = True

    def _take(self) -> None:
        self._asked = False
        if not self._has_newcomers:
            time.sleep(_SECONDS)
        self._has_newcomers = False
