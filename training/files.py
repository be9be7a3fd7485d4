"""Writes files whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from models.drafts import draft_file, sync
from training.errors import TrainingError


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Adds the path to an ``OSError`` that names none: a failed write knows only its open file."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def atomic_file(path: Path, *, one_writer: bool = False) -> Iterator[BinaryIO]:
    """Opens a draft that replaces ``path`` if the block succeeds, and is removed if the block raises.

    The draft lies beside ``path``, under a random name, so several processes may write the same file. With
    ``one_writer`` its name is always ``path`` + ``.tmp``: the next write then replaces a draft that a kill left behind.
    """
    with named_errors(path):
        if not one_writer:
            with draft_file(path) as file:
                yield file
            return
        draft = path.with_name(f"{path.name}.tmp")
        try:
            with draft.open("wb") as file:
                yield file
                sync(file)
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
