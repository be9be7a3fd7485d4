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
        if received:
            raise KeyboardInterrupt
        received.append(number)

    with _handled(handle):
        yield received


@contextmanager
def interruptible() -> Iterator[None]:
    """Raises ``KeyboardInterrupt`` inside the block on SIGTERM and on Ctrl-C, once per request."""

    def handle(number: int) -> None:
        raise KeyboardInterrupt

    with _handled(handle):
        yield


_last_request = [-math.inf]
_depth = [0]


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
