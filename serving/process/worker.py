"""Adapts a worker process: its end with its parent, daemon threads, garbage collection."""

import asyncio
import ctypes
import gc
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

_PR_SET_PDEATHSIG = 1

_OBJECTS_BEFORE_COLLECTION = 20_000


def end_with_parent() -> None:
    """Asks Linux to send this process SIGTERM when its parent dies (``kill -9``, out of memory).

    Without it, an orphaned worker holds the port that the next start needs. Does nothing on other systems.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


async def run_in_daemon_thread(function: Callable[[], T], name: str) -> T:
    """Returns what ``function`` returns, or raises what it raises. ``name`` is the thread's.

    Unlike with ``asyncio.to_thread``, the process can end while it runs: a lost network mount may never answer.
    """
    result = Future[T]()

    def run() -> None:
        if not result.set_running_or_notify_cancel():
            return
        try:
            value = function()
        except BaseException as error:
            result.set_exception(error)
        else:
            result.set_result(value)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await asyncio.wrap_future(result)


def exempt_loaded_objects_from_gc() -> None:
    """Excludes all objects of now from garbage collection, and makes later collections rarer.

    A collection that traverses all of BentoML again would stop every thread for a fifth of a second. A request creates
    hundreds of objects and no cycles: with Python's default of 700, every third request would start a collection.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)
