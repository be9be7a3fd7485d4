"""Drafts: files and folders that get their name once they are complete.

A reader sees nothing or all of them. A process holds a lock on each of its drafts, which the system releases even after
a kill, so the next writer tells a draft in work from one that was left behind, and removes that.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_ENDING = ".draft"


@contextmanager
def draft_folder(target: Path) -> Iterator[Path]:
    """Yields an empty folder that becomes ``target`` if the block succeeds, and is removed if it raises.

    Raises ``OSError``, also if ``target`` is there already and not empty.
    """
    remove_abandoned(target.parent)
    while True:
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=_ENDING, dir=target.parent))
        file = os.open(draft, os.O_RDONLY | os.O_CLOEXEC)
        if _lock(file):
            break
        os.close(file)  # another process has taken it for abandoned before it was locked
    try:
        draft.chmod(0o755)
        yield draft
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    finally:
        os.close(file)


@contextmanager
def draft_file(target: Path) -> Iterator[BinaryIO]:
    """Opens a file that replaces ``target`` if the block succeeds, and is removed if it raises. Raises ``OSError``.

    Several processes may write the same target: the last one stays.
    """
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}-", suffix=_ENDING, dir=target.parent)
        if _lock(handle):
            break
        os.close(handle)
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            sync(file)
            draft.chmod(0o644)  # mkstemp's 0600 would hide the file from other users
            draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def sync(file: BinaryIO) -> None:
    """Waits until the disk has what was written, so that after a power cut no name belongs to an empty file."""
    file.flush()
    os.fsync(file.fileno())


def remove_abandoned(folder: Path) -> None:
    """Removes the drafts directly in a folder whose processes have ended. Does what it can, and raises nothing."""
    for draft in folder.glob(f".*{_ENDING}"):
        with suppress(OSError):
            file = os.open(draft, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(draft) if draft.is_dir() else draft.unlink()
            finally:
                os.close(file)


def _lock(file: int) -> bool:
    """Locks a new draft. Returns whether it is still there.

    A file system without locks cannot lock it, and then ``remove_abandoned`` cannot either, and removes nothing.
    """
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)
    return os.fstat(file).st_nlink > 0
