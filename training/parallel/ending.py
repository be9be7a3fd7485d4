"""How a process ends: with one sentence, and of several that train together one speaks for all.

They agree through the key-value store that torchrun keeps, which is there before they have joined and outlives them.
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

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

CONNECT_SECONDS = 5
LOOK_SECONDS = 0.5
"""From one look for another process's end to the next."""
GRACE_SECONDS = 3.0
"""For a process to end by itself once another has; and for another to say why it has gone."""
FIRST_SECONDS = 0.3
"""Head start of the first process, which has the run's folder before it, where all fail alike."""


def several() -> bool:
    """Whether a launcher has started this process with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def end(error: BaseException, code: int, sentence: str | None, file: TextIO | None = None) -> NoReturn:
    """Ends the process with a sentence, on standard error without ``file``, or a traceback where there is none.

    Of several processes one speaks, the first if it fails as the others do, and all end with the code of that one.
    """
    if not several():
        print(sentence or error, file=file or sys.stderr)
        raise SystemExit(code) from None
    speaker, agreed = _speaker(code, patient=isinstance(error, LostProcessError))
    if speaker == _rank() and sentence is not None:
        print(sentence, file=file or sys.stderr)
    elif speaker == _rank():
        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(agreed)  # a group of processes is left in order by all together or not at all


@contextmanager
def ends_with_others() -> Iterator[None]:
    """Ends this process, wherever it waits, soon after another one has ended with an error."""
    store = _store()
    if store is None:
        yield
        return
    done = threading.Event()

    def watch() -> None:
        while not done.wait(LOOK_SECONDS):
            try:
                if not store.check([_key()]):
                    continue
                speaker, code = _parsed(store.get(_key()))
            except RuntimeError:  # the launcher has gone, and ends this process itself
                return
            if speaker != _rank() and not done.wait(GRACE_SECONDS):
                os._exit(code)
            return

    thread = threading.Thread(target=watch, name="watch-others", daemon=True)
    thread.start()
    yield
    done.set()  # after an error it goes on: what cleans up may wait for the others, too
    thread.join()


def _speaker(code: int, patient: bool) -> tuple[int, int]:
    """The rank that speaks for all and its exit code: the first that asks, unless it is ``patient``."""
    # The launcher sends the others a signal. It must not cut short what there is to say; who has lost another has
    # nothing to say that the launcher does not know better.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL if patient else signal.SIG_IGN)
    store = _store()
    if store is None:
        return _rank(), code
    try:
        deadline = time.monotonic() + (GRACE_SECONDS if patient else FIRST_SECONDS if _rank() else 0)
        while time.monotonic() < deadline and not store.check([_key()]):
            time.sleep(0.05)
        return _parsed(store.compare_set(_key(), "", f"{_rank()} {code}"))
    except RuntimeError:
        return _rank(), code


def _parsed(value: bytes) -> tuple[int, int]:
    rank, code = value.decode().split()
    return int(rank), int(code)


def _store() -> "TCPStore | None":
    """A connection of its own to the launcher's store; None where that cannot be reached."""
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
    return f"figment/ended/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))
