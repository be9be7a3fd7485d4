"""Makes the parent process replace a worker as soon as it ends, and log how it ended.

BentoML's parent looks for ended workers every ten seconds and logs nothing. Until then connections are accepted, and
nobody answers them.
"""

import logging
import os
import signal
import time
from typing import Any

logger = logging.getLogger("figment.service")

_LEAST_SECONDS = 10.0
"""Seconds between two replacements at once. A worker that always ends at its start waits for BentoML's own check."""

_RETRY_SECONDS = 0.1  # after which the parent's other command (a start, a stop) may have ended


def replace_ended_workers_at_once() -> None:
    """Changes circus, which BentoML's parent process runs: call it there, before its arbiter exists."""
    from circus.exc import ConflictError  # type: ignore[import-untyped]
    from circus.sighandler import SysHandler  # type: ignore[import-untyped]
    from circus.watcher import Watcher  # type: ignore[import-untyped]

    last = -_LEAST_SECONDS

    def replace(arbiter: Any) -> None:
        nonlocal last
        try:
            arbiter.manage_watchers()
        except ConflictError:
            arbiter.loop.call_later(_RETRY_SECONDS, replace, arbiter)
        else:
            last = time.monotonic()

    def on_child_end(handler: Any) -> None:
        controller = handler.controller
        if time.monotonic() - last >= _LEAST_SECONDS:
            controller.loop.add_callback_from_signal(replace, controller.arbiter)

    reap = Watcher.reap_process

    def reap_and_log(watcher: Any, pid: int, status: int | None = None) -> None:
        if status is not None and pid in watcher.processes:
            logger.error("Worker %d %s; another one is started", pid, _end(status))
        reap(watcher, pid, status)

    Watcher.reap_process = reap_and_log
    SysHandler.SIGNALS = [*SysHandler.SIGNALS, signal.SIGCHLD]
    # circus derives the handler's name from one of the signal's two names.
    SysHandler.handle_chld = SysHandler.handle_cld = on_child_end


def _end(status: int) -> str:
    """Describes a status of ``os.waitpid``."""
    if not os.WIFSIGNALED(status):
        return f"ended with status {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    text = f"was killed by {signal.Signals(number).name}"
    if number == signal.SIGKILL:
        text += " (if nobody sent it, by the kernel: the memory limit is too low)"
    return text
