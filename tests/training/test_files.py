"""A file is replaced whole or not at all."""

from pathlib import Path

import pytest

from training.errors import TrainingError
from training.files import atomic_file, write_atomic


def fail_halfway(path: Path, one_writer: bool) -> None:
    with atomic_file(path, one_writer=one_writer) as file:
        file.write(b"half")
        raise RuntimeError


@pytest.mark.parametrize("one_writer", [False, True])
def test_an_error_leaves_the_old_file_and_no_draft(tmp_path: Path, one_writer: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        fail_halfway(path, one_writer)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("one_writer", [False, True])
def test_a_file_is_replaced(tmp_path: Path, one_writer: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic_file(path, one_writer=one_writer) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old", "until the block ends"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_one_writer_replaces_the_draft_that_a_kill_left_behind(tmp_path: Path) -> None:
    (tmp_path / "file.tmp").write_bytes(b"much longer than the new content")
    with atomic_file(tmp_path / "file", one_writer=True) as file:
        file.write(b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]


def test_a_failure_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(TrainingError, match=r"cannot write .*folder \(Is a directory\)"):
        write_atomic(tmp_path / "folder", b"")
