"""The exit of a process: one line for the user, and with several processes only one of them prints it.

They agree through torchrun's key-value store, which exists before they join a group and after they have left it.
"""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn, TextIO

from training.errors import LostProcessError
from training.parallel.barrier import Pulse, attempt

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

CONNECT_SECONDS = 5
POLL_SECONDS = 0.5
"""Between two checks whether another process has exited."""
GRACE_SECONDS = 3.0
"""Time for a process to exit by itself once another has, and for a lost process to report its reason."""
HEAD_START_SECONDS = 0.3
"""Head start of rank 0 if all processes fail with the same error: it is the one that holds the run's folder."""


def several() -> bool:
    """Returns whether a launcher has started this process together with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def end(error: BaseException, code: int, sentence: str | None, file: TextIO | None = None) -> NoReturn:
    """Exits with a code after printing a sentence to ``file`` (default: standard error), or a traceback without one.

    With several processes one prints, and all exit with its code. Rank 0 prints if all fail with the same error.
    """
    if not several():
        print(sentence or error, file=file or sys.stderr)
        raise SystemExit(code) from None
    reporting_rank, agreed_code = _agree(code, lost_another=isinstance(error, LostProcessError))
    if reporting_rank == _rank() and sentence is not None:
        print(sentence, file=file or sys.stderr)
    elif reporting_rank == _rank():
        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(agreed_code)  # a regular exit would wait for the group, which only all members together can leave


@contextmanager
def ends_with_others() -> Iterator[None]:
    """Exits this process, even from a blocked call, soon after another process has exited with an error.

    Meanwhile it leaves this process's signs of life for those that wait at a ``StoreBarrier``.
    """
    store = open_store()
    if store is None:
        yield
        return
    done, pulse = threading.Event(), Pulse(store, _rank())

    def watch() -> None:
        while not done.wait(POLL_SECONDS):
            try:
                pulse.beat()
                if not store.check([_key()]):
                    continue
                reporting_rank, code = _parsed(store.get(_key()))
            except RuntimeError:  # the launcher has exited, and terminates this process
                return
            if reporting_rank != _rank() and not done.wait(GRACE_SECONDS):
                os._exit(code)
            return

    thread = threading.Thread(target=watch, name="watch-others", daemon=True)
    thread.start()
    yield
    done.set()  # not in a finally: after an error, cleaning up may block on the others too
    thread.join()


def _agree(code: int, lost_another: bool) -> tuple[int, int]:
    """Returns the rank that reports and its exit code: the first process that asks.

    A process that only lost another one waits first, so that the other can report the reason.
    """
    # The launcher sends SIGTERM to the others, which must not interrupt the report. A process that only lost another
    # one has nothing to report that the launcher does not know.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL if lost_another else signal.SIG_IGN)
    store = open_store()
    if store is None:
        return _rank(), code
    try:
        deadline = time.monotonic() + (GRACE_SECONDS if lost_another else HEAD_START_SECONDS if _rank() else 0)
        while time.monotonic() < deadline and not store.check([_key()]):
            time.sleep(0.05)
        return _parsed(store.compare_set(_key(), "", f"{_rank()} {code}"))
    except RuntimeError:
        return _rank(), code


def _parsed(value: bytes) -> tuple[int, int]:
    rank, code = value.decode().split()
    return int(rank), int(code)


def open_store() -> "TCPStore | None":
    """Opens a new connection to the launcher's store; returns None if it cannot be reached."""
    # PyTorch takes two seconds to import, and one process alone needs no store.
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    try:
        return TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=CONNECT_SECONDS),
        )
    except (KeyError, ValueError, RuntimeError):
        return None


def _key() -> str:
    return f"figment/ended/{attempt()}"


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))
