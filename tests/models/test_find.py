"""The bundles of a folder are found; what looks like one is named, and a failed listing is an error."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.bundle import BundleError
from models.find import find_bundles


def names(root: Path) -> list[str]:
    return [f"{folder.parent.name}/{folder.name}" for folder in find_bundles(root).folders]


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_root_that_is_not_a_folder_is_an_error(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "root"
    if kind == "file":
        root.touch()
    with pytest.raises(BundleError, match="is not a folder of bundles"):
        find_bundles(root)


def test_misplaced_entries_are_ignored_with_the_reason(tmp_path: Path) -> None:
    for folder in ("shapes/2", "shapes/v4", "shapes/latest", "shapes/1.0", "shapes/\u0664", "3"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "3" / "card.json").touch()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "shapes" / "9").symlink_to(tmp_path / "nowhere")
    found = find_bundles(tmp_path)
    assert names(tmp_path) == ["shapes/2"]
    no_version = "is not named like a version; versions are whole numbers: 1, 2, …"
    assert found.ignored == {
        "3": "holds card.json itself; a bundle lies in NAME/VERSION",
        "gone": "is a broken link",
        "shapes/1.0": no_version,
        "shapes/9": "is a broken link",
        "shapes/latest": no_version,
        "shapes/v4": no_version,
        "shapes/\u0664": no_version,
    }


def test_hidden_entries_and_other_files_are_skipped_silently(tmp_path: Path) -> None:
    for folder in (
        "lost+found",
        ".snapshot/1",
        "..2026_01_01/shapes/1",
        "shapes/.2-draft",
        "shapes/1",
        "shapes/lost+found",
    ):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "README.md").touch()
    (tmp_path / "shapes" / "notes.txt").touch()
    found = find_bundles(tmp_path)
    assert names(tmp_path) == ["shapes/1"]
    assert not found.ignored
    assert not found.unreadable


def test_the_links_of_kubernetes_mounts_are_followed(tmp_path: Path) -> None:
    (tmp_path / "..2026_01_01" / "shapes" / "1").mkdir(parents=True)
    (tmp_path / "..data").symlink_to("..2026_01_01")
    (tmp_path / "shapes").symlink_to("..data/shapes")
    assert names(tmp_path) == ["shapes/1"]


@pytest.fixture
def scandir_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Makes the listing of a folder below ``tmp_path`` fail with an error number."""

    def fail(name: str, number: int) -> None:
        original = os.scandir

        def scandir(path: Path) -> Any:
            if path == tmp_path / name:
                raise OSError(number, os.strerror(number), str(path))
            return original(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return fail


def test_a_model_without_permission_is_named_and_the_others_are_found(
    tmp_path: Path, scandir_fails: Callable[[str, int], None]
) -> None:
    for folder in ("secret/1", "shapes/1"):
        (tmp_path / folder).mkdir(parents=True)
    scandir_fails("secret", errno.EACCES)
    assert names(tmp_path) == ["shapes/1"]
    assert find_bundles(tmp_path).unreadable == {"secret": "secret: the folder cannot be read (Permission denied)"}


def test_a_model_removed_during_the_listing_is_skipped(
    tmp_path: Path, scandir_fails: Callable[[str, int], None]
) -> None:
    for folder in ("gone/1", "shapes/1"):
        (tmp_path / folder).mkdir(parents=True)
    scandir_fails("gone", errno.ENOENT)
    assert names(tmp_path) == ["shapes/1"]


@pytest.mark.parametrize(
    ("folder", "number"), [("", errno.EACCES), ("", errno.EMFILE), ("shapes", errno.EMFILE), ("shapes", errno.ESTALE)]
)
def test_a_failed_listing_does_not_look_like_an_empty_folder(
    tmp_path: Path, scandir_fails: Callable[[str, int], None], folder: str, number: int
) -> None:
    (tmp_path / "shapes" / "1").mkdir(parents=True)
    scandir_fails(folder, number)
    with pytest.raises(OSError, match=os.strerror(number)):
        find_bundles(tmp_path)


def test_versions_are_sorted_by_number_and_not_by_text(tmp_path: Path) -> None:
    for version in ("10", "9"):
        (tmp_path / "shapes" / version).mkdir(parents=True)
    assert names(tmp_path) == ["shapes/9", "shapes/10"]
