"""Drafts get their name once they are complete, and what a kill leaves of them is removed by the next writer."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from models.drafts import draft_file, draft_folder, remove_abandoned

CONTEXT = multiprocessing.get_context("fork")


def die_in_a_draft(target: Path, folder: bool) -> None:
    if folder:
        with draft_folder(target) as draft:
            (draft / "half").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
    with draft_file(target) as file:
        file.write(b"half")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("folder", [True, False])
def test_a_kill_leaves_a_hidden_draft_that_the_next_writer_removes(tmp_path: Path, folder: bool) -> None:
    target = tmp_path / "1"
    process = CONTEXT.Process(target=die_in_a_draft, args=(target, folder))
    process.start()
    process.join()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".1-")
    with draft_folder(tmp_path / "2"):
        assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


@pytest.mark.parametrize("folder", [True, False])
def test_a_draft_in_work_is_not_removed(tmp_path: Path, folder: bool) -> None:
    with (draft_folder if folder else draft_file)(tmp_path / "1"):
        (draft,) = tmp_path.iterdir()
        remove_abandoned(tmp_path)
        assert draft.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_an_error_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("before")
    for draft in (draft_file, draft_folder):
        with pytest.raises(OSError, match="full"), draft(tmp_path / "card.json"):
            raise OSError("full")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_other_hidden_files_and_links_stay(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("mine")
    (tmp_path / ".a.draft").symlink_to(tmp_path / ".env")
    remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.draft", ".env"]
