"""Work in a thread that does not keep the process from ending."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def run_in_daemon_thread(function: Callable[[], T]) -> T:
    """Returns what ``function`` returns, or raises what it raises.

    Unlike with ``asyncio.to_thread``, the process ends while it runs: a lost network mount may never answer.
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

    threading.Thread(target=run, name="load", daemon=True).start()
    return await asyncio.wrap_future(result)
