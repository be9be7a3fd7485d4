"""Adapts a worker process: its end with its parent, daemon threads, garbage collection."""

import asyncio
import contextlib
import ctypes
import faulthandler
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Item = TypeVar("Item")

_PR_SET_PDEATHSIG = 1

_OBJECTS_BEFORE_COLLECTION = 20_000


def end_with_parent() -> None:
    """Asks Linux to send this process SIGTERM when its parent dies (``kill -9``, out of memory).

    Without it, an orphaned worker holds the port that the next start needs. Does nothing on other systems.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def release_free_memory() -> None:
    """Returns freed memory to the system, where the C library keeps it and has such a call (glibc).

    glibc has up to eight pools a core, each for the threads that happen to use it. One that has been used for loading a
    bundle stays large: a generator with 4 MB of weights takes 110 MB for a moment.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # musl has no such call
            ctypes.CDLL(None).malloc_trim(0)


def end_if_it_hangs(seconds: float) -> None:
    """Ends the process with a traceback after some seconds, unless ``has_not_hung`` is called before.

    At the edge of a memory limit, Python's ``Thread.start`` waits forever for a thread that could not begin.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)


def has_not_hung() -> None:
    """Stops what ``end_if_it_hangs`` has started."""
    faulthandler.cancel_dump_traceback_later()


def run_workers_as(module: str, root: Path) -> None:
    """Makes BentoML's arbiter, which is this process, start its workers as ``python -m MODULE``; ``root`` holds it."""
    from _bentoml_impl.server import serving  # type: ignore[import-untyped]

    serving._SERVICE_WORKER_SCRIPT = module
    # NumPy's import starts a thread for each core, for linear algebra. A worker has vectors of one noise at most.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # glibc would have eight pools a core. After 100 reloads they held 100 MB that could not be returned to the system,
    # between blocks in use; two hold 15 MB.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    # A worker's folder is that of a built Bento, which has the code in ``src``.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))


def start_in_daemon_thread(function: Callable[[], T], name: str) -> Future[T]:
    """Returns the future result of ``function``, or its exception. ``name`` is the thread's.

    Unlike with an executor, the process can end while it runs: a lost network mount may never answer.
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
    return result


async def run_in_daemon_thread(function: Callable[[], T], name: str) -> T:
    """Returns what ``function`` returns, or raises what it raises, see ``start_in_daemon_thread``."""
    return await asyncio.wrap_future(start_in_daemon_thread(function, name))


def map_in_daemon_threads(function: Callable[[Item], T], items: Iterable[Item], threads: int, name: str) -> list[T]:
    """Returns ``function`` of each item, in order; at most this number of threads compute at once.

    Raises the first item's exception, once all items are done.
    """
    slots = threading.Semaphore(threads)

    def limited(item: Item) -> T:
        with slots:
            return function(item)

    results = [start_in_daemon_thread(partial(limited, item), name) for item in items]
    wait(results)
    return [result.result() for result in results]


def exempt_loaded_objects_from_gc() -> None:
    """Excludes all objects of now from garbage collection, and makes later collections rarer.

    A collection that traverses all of BentoML again would stop every thread for a fifth of a second. A request creates
    hundreds of objects and no cycles: with Python's default of 700, every third request would start a collection.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)
