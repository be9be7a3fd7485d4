"""A worker ends with the process that started it: left behind, it would hold the port that a new start needs."""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Has this process drain and end, as on SIGTERM, if its parent dies without ending it (``kill -9``, out of memory).

    For Linux, which tells children of that; elsewhere this does nothing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
