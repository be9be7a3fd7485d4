"""Ends a worker when its parent dies: an orphan would hold the port that the next start needs."""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Asks Linux to send this process SIGTERM when its parent dies (``kill -9``, out of memory).

    Does nothing on other systems.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
