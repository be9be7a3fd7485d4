"""File locks, which the system releases when their holder ends, even after a kill."""

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType

from training.errors import TrainingError

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""Error numbers of file systems without locks."""


class FileLock:
    """An exclusive lock on a file, between processes of all machines that share its folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def try_acquire(self) -> bool:
        """Takes the lock if it is free. Returns whether it did.

        Raises ``TrainingError`` if the file system has no locks.
        """
        return self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB)

    def acquire(self) -> bool:
        """Waits for the lock and takes it. Raises ``TrainingError`` if the file system has no locks."""
        return self._lock(fcntl.LOCK_EX)

    def release(self) -> None:
        """Releases the lock, if this object holds it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> "FileLock":
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _lock(self, operation: int) -> bool:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, operation)
            if not os.fstat(file).st_nlink:  # its last holder has removed it: a new one would be another lock
                os.close(file)
                return self._lock(operation)
        except BlockingIOError:
            os.close(file)
            return False
        except OSError as error:
            os.close(file)
            if error.errno not in _NO_LOCKS:
                raise
            raise TrainingError(
                f"cannot lock {self.path} ({error.strerror}): its file system has no locks. Mount it with locks "
                "(NFS: version 4, or a lock daemon), or choose a folder on another file system"
            ) from error
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return True
