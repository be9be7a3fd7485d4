"""A full disk is one sentence that says what to do, and two processes cannot hold one lock."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import training.locks
import training.train
from tests.training.tiny_runs import FAMILIES, TINY, arguments
from training.errors import TrainingError
from training.locks import FileLock
from training.runs import checkpoints
from training.runs.checkpoints import read_newest, write_tensors

SETTINGS = arguments(*TINY, *FAMILIES["mlp"], "images=32", "precision=float32")


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "images.npy")


@pytest.mark.parametrize(("moment", "again"), [("load_images", "the same command again"), ("fit", "resume ")])
def test_a_full_disk_says_how_to_go_on(
    tmp_path: Path,
    train: Callable[..., None],
    digits: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    again: str,
) -> None:
    """What has begun is resumed; what has not begun is undone, and begun again."""
    monkeypatch.setattr(training.train, moment, full)
    with pytest.raises(TrainingError, match=f"No space left on device.*make room, then: .*{again}"):
        train("fit", "digits", "--data", digits, "--out", tmp_path / "run", *SETTINGS)
    assert (tmp_path / "run").exists() == (moment == "fit")


def test_a_checkpoint_on_a_full_disk_tells_the_system_s_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.save alone says "[enforce fail at inline_container.cc:672] . unexpected pos 9984 vs 9936"."""

    class Full:
        def write(self, content: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def flush(self) -> None:
            pass

    original = torch.save
    monkeypatch.setattr(torch, "save", lambda content, file: original(content, Full()))
    with pytest.raises(TrainingError, match=r"cannot write a\.pt \(No space left on device\)"):
        write_tensors(tmp_path / "a.pt", {"w": torch.zeros(100_000)})
    assert not list(tmp_path.iterdir())


def test_checkpoints_that_are_replaced_while_they_are_read_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between listing and reading, a run with a short interval replaces both."""
    torch.save({"configuration": {}, "images_seen": 1}, tmp_path / "1.pt")
    original, reads = checkpoints.read_tensors, []

    def read(path: Path) -> Any:
        if not reads:
            path.rename(tmp_path / "2.pt")
        reads.append(path.name)
        return original(path)

    monkeypatch.setattr(checkpoints, "read_tensors", read)
    assert read_newest(tmp_path)["images_seen"] == 1
    assert reads == ["1.pt", "2.pt"]


def test_a_lock_whose_file_was_removed_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one process would hold the removed file, and the next one a new file of the same name."""
    path = tmp_path / "run.lock"
    original, calls = training.locks.fcntl.flock, []

    def flock(file: int, operation: int) -> None:
        original(file, operation)
        if not calls:
            path.unlink()
        calls.append(file)

    monkeypatch.setattr(training.locks.fcntl, "flock", flock)
    first, second = FileLock(path), FileLock(path)
    assert first.try_acquire()
    assert not second.try_acquire()
