"""Keeps the metrics of several processes in files that a full disk does not turn into a crash.

prometheus_client maps files into memory that have no blocks on the disk yet. If the disk is full when one is needed,
the kernel kills the process with SIGBUS. So blocks are reserved before they are mapped, and series without room are
missing from ``/metrics``.
"""

import errno
import logging
import os
from contextlib import suppress
from pathlib import Path

from prometheus_client import mmap_dict, values

logger = logging.getLogger("figment.service")

_INITIAL_BYTES = 1 << 16  # as prometheus_client's own
_ENTRY_BYTES = 8 + 8 + 16  # length and padding, and the value with its time

# A file system that cannot reserve blocks, such as NFS 3.
_CANNOT_RESERVE = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class ReservedFile(mmap_dict.MmapedDict):
    """A file of series, whose blocks are on the disk before they are used.

    A series that does not fit is dropped, and an error is logged once. So is a whole file that does not fit.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        self._fname = filename
        self._is_complete = True
        size = _size(filename)
        if read_mode or size or self._reserve(_INITIAL_BYTES):
            super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]
            return
        with suppress(OSError):  # an empty file would break the reading of all others
            Path(filename).unlink(missing_ok=True)
        self._f = None  # type: ignore[assignment]
        self._positions: dict[str, int] = {}

    def read_value(self, key: str) -> tuple[float, float]:
        """Returns a series' value and its time; zeros for one that does not fit."""
        if not self._has_room(key):
            return 0.0, 0.0
        value: tuple[float, float] = super().read_value(key)  # type: ignore[no-untyped-call]
        return value

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Writes a series' value, unless it does not fit."""
        if self._has_room(key):
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]

    def _has_room(self, key: str) -> bool:
        """Returns whether a series is in the file or fits into it. Reserves blocks for a new one."""
        if key in self._positions:
            return True
        if self._f is None:
            return False
        needed = self._used + len(key.encode()) + _ENTRY_BYTES
        size = self._capacity
        while size < needed:
            size *= 2  # as prometheus_client does when it writes the series
        return size == self._capacity or self._reserve(size)

    def _reserve(self, size: int) -> bool:
        """Reserves the first ``size`` bytes of the file, if the disk has room for them."""
        try:
            file = os.open(self._fname, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if hasattr(os, "posix_fallocate"):  # not on macOS
                    os.posix_fallocate(file, 0, size)
            finally:
                os.close(file)
        except OSError as error:
            if error.errno in _CANNOT_RESERVE:
                return True
            if self._is_complete:
                logger.error("Metrics are missing until the next start: %s: %s", self._fname, error.strerror)
            self._is_complete = False
            return False
        return True


def keep_metrics_in_reserved_files() -> None:
    """Makes prometheus_client use ``ReservedFile``. Call it before the first metric exists."""
    values.MmapedDict = ReservedFile  # type: ignore[attr-defined]


def _size(filename: str) -> int:
    try:
        return Path(filename).stat().st_size
    except OSError:
        return 0
