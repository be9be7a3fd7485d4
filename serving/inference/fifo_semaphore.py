"""Places on a device, for threads that come one after the other."""

import threading
from collections import deque


class Places:
    """So many threads at a time may be inside (``with``); the others go in as they came.

    With Python's own semaphore, a thread that comes later may go in before one that has been waiting.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[threading.Lock] = deque()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()  # the place is never free for anybody else
            else:
                self._free += 1
