"""Writes files whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from training.errors import TrainingError


@contextmanager
def atomic_file(path: Path, *, one_writer: bool = False) -> Iterator[BinaryIO]:
    """Opens a draft that replaces ``path`` if the block succeeds, and is removed if the block raises.

    The draft lies beside ``path``, under a random name, so several processes may write the same file. With
    ``one_writer`` its name is always ``path`` + ``.tmp``: the next write then replaces a draft that a kill left behind.
    """
    if one_writer:
        draft = path.with_name(f"{path.name}.tmp")
        file: BinaryIO = draft.open("wb")
    else:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        draft, file = Path(name), os.fdopen(handle, "wb")
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # before the rename, so a power cut leaves the old content or the new
        if not one_writer:
            draft.chmod(0o644)  # mkstemp's 0600 would hide the file from other users
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes) -> None:
    """Writes a file that several processes may write, and creates its folder. Raises ``TrainingError`` on failure."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(content)
    except OSError as error:
        raise TrainingError(f"cannot write {path} ({error.strerror})") from error
