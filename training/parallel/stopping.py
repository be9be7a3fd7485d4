"""SIGTERM and Ctrl-C as requests for an orderly stop."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ECHO_SECONDS = 1.0
"""Signals this close together count as one request. A terminal sends Ctrl-C to a launcher and to its processes, and the
launcher forwards it to them again."""


@contextmanager
def stop_requested() -> Iterator[list[int]]:
    """Yields a list that gets the number of the first SIGTERM or Ctrl-C.

    A second request raises ``KeyboardInterrupt``.
    """
    received: list[int] = []

    def handle(number: int) -> None:
        again = bool(received)
        if not again:
            received.append(number)
        if again or _interrupts_work[0]:
            raise KeyboardInterrupt

    outer, _requests[0] = _requests[0], received
    try:
        with _handled(handle):
            yield received
    finally:
        _requests[0] = outer


def unless_stopped(work: Callable[[], object]) -> bool:
    """Does long work inside ``stop_requested``, and gives it up at the first request to stop, or if there was one.

    Returns whether the work is done. It is for work that a resumed run can begin again.
    """
    received = _requests[0]
    if received:
        return False
    try:
        _interrupts_work[0] = True
        work()
        _interrupts_work[0] = False
    except KeyboardInterrupt:
        if not received:  # not from a handler of ``stop_requested``
            raise
        return False
    finally:
        _interrupts_work[0] = False
    return True


@contextmanager
def interruptible() -> Iterator[None]:
    """Raises ``KeyboardInterrupt`` inside the block on SIGTERM and on Ctrl-C, once per request."""

    def handle(number: int) -> None:
        raise KeyboardInterrupt

    with _handled(handle):
        yield


_last_request = [-math.inf]
_depth = [0]
_requests: list[list[int]] = [[]]
"""Its only element: what the innermost ``stop_requested`` has received."""
_interrupts_work = [False]
"""Whether ``unless_stopped`` is working, so that the first request interrupts it."""


@contextmanager
def _handled(handle: Callable[[int], None]) -> Iterator[None]:
    def receive(number: int, frame: FrameType | None) -> None:
        echo = time.monotonic() - _last_request[0] < ECHO_SECONDS
        if not echo:
            _last_request[0] = time.monotonic()
            handle(number)

    if _depth[0] == 0:
        _last_request[0] = -math.inf
    before = {number: signal.signal(number, receive) for number in (signal.SIGTERM, signal.SIGINT)}
    _depth[0] += 1
    try:
        yield
    finally:
        _depth[0] -= 1
        for number, handler in before.items():
            signal.signal(number, handler)
