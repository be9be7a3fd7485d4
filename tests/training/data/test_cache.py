"""The cache stays within its bound, keeps one copy of the same images, and takes nothing from a running process."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.config.schema import DataConfig
from training.data.cache import (
    datasets_folder,
    entries,
    evict,
    format_bytes,
    judges_folder,
    mark_in_use,
    max_bytes,
    remove,
    total_bytes,
)
from training.data.dataset import load_images
from training.errors import TrainingError

CONFIG = DataConfig(resolution=64, channels=1, fit="pad")
IMAGES = 100_000
"""Bytes of an entry's images."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TRAINING_CACHE_BYTES", raising=False)


def entry(key: str, age: float = 0, fingerprint: str | None = None) -> Path:
    """An entry that no process holds."""
    folder = datasets_folder() / key
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", np.zeros((IMAGES // 100, 10, 10, 1), np.uint8))
    meta = {"fingerprint": fingerprint or key, "label_names": ["a", "b"], "broken": [], "converted": {}}
    (folder / "meta.json").write_text(json.dumps(meta))
    (folder / "lock").write_text(f"name of {key}")
    os.utime(folder / "lock", (time.time() - age, time.time() - age))
    return folder


@contextmanager
def held_elsewhere(path: Path) -> Iterator[None]:
    """Another process uses the entry."""
    code = (
        "from pathlib import Path; from training.data.cache import mark_in_use; "
        f"print(mark_in_use(Path({str(path)!r}))); input()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        try:
            yield
        finally:
            process.kill()


def pictures(folder: Path, count: int = 4) -> Path:
    folder.mkdir(exist_ok=True)
    for index in range(count):
        Image.new("L", (64, 64), index).save(folder / f"{index}.png")
    return folder


def inode(path: Path) -> int:
    return path.stat().st_ino


def test_touching_a_file_makes_no_second_copy(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data")
    first = load_images(str(data), CONFIG)
    os.utime(data / "0.png", (1, 1))
    again = load_images(str(data), CONFIG)
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.images, first.images)
    one, two = sorted(datasets_folder().glob("*/images.npy"))
    assert inode(one) == inode(two)
    assert total_bytes(entries()) < 1.5 * one.stat().st_size


def test_other_images_are_no_copy(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data")
    load_images(str(data), CONFIG)
    Image.new("L", (64, 64), 200).save(data / "0.png")
    load_images(str(data), CONFIG)
    one, two = sorted(datasets_folder().glob("*/images.npy"))
    assert inode(one) != inode(two)


def test_the_least_recently_used_entry_is_evicted_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    newest, oldest, middle = entry("new", 10), entry("old", 1000), entry("middle", 100)
    monkeypatch.setenv("TRAINING_CACHE_BYTES", str(int(2.5 * IMAGES)))
    evict()
    assert (newest.exists(), middle.exists(), oldest.exists()) == (True, True, False)
    said = capsys.readouterr().err
    assert re.fullmatch(r"removed 1 of the cache's entries, 100\.\d kB, to keep it below 250\.0 kB \(.*\)\n", said)
    evict()
    assert capsys.readouterr().err == ""


def test_use_postpones_eviction(monkeypatch: pytest.MonkeyPatch) -> None:
    old, middle = entry("old", 1000), entry("middle", 100)
    code = (
        "from pathlib import Path; from training.data.cache import mark_in_use; "
        f"mark_in_use(Path({str(old)!r}), 'photos')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [each.description for each in entries()][1].startswith("photos: 1000 × 10 × 10 × 1, 2 labels")
    monkeypatch.setenv("TRAINING_CACHE_BYTES", str(int(1.5 * IMAGES)))
    evict()
    assert (old.exists(), middle.exists()) == (True, False)


def test_an_entry_in_use_is_not_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    used, other = entry("used", 1000), entry("other", 10)
    monkeypatch.setenv("TRAINING_CACHE_BYTES", "0")
    with held_elsewhere(used):
        os.utime(used / "lock", (1, 1))
        evict()
        assert (used.exists(), other.exists()) == (True, False)
    evict()
    assert not used.exists(), "SIGKILL lets go of the lock, too"


def test_a_new_data_set_evicts_others_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = entry("old", 1000)
    monkeypatch.setenv("TRAINING_CACHE_BYTES", "10")
    loaded = load_images(str(pictures(tmp_path / "data")), CONFIG)
    assert len(loaded) == 4
    assert not old.exists()
    assert len(list(datasets_folder().iterdir())) == 1, "larger than the bound, and in use by this process"


def test_removed_images_are_decoded_again(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data")
    code = "import sys; from training.data.dataset import load_images; from training.config.schema import DataConfig; "
    code += f"print(load_images({str(data)!r}, DataConfig(resolution=64, channels=1, fit='pad')).fingerprint)"
    fingerprint = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    (only,) = entries()
    assert not only.in_use
    assert remove(only)
    assert not mark_in_use(only.path)
    assert load_images(str(data), CONFIG).fingerprint == fingerprint.strip()


def test_files_that_entries_share_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = entry("one", 10), entry("two", 20)
    (two / "images.npy").unlink()
    (two / "images.npy").hardlink_to(one / "images.npy")
    monkeypatch.setenv("TRAINING_CACHE_BYTES", str(int(1.5 * IMAGES)))
    evict()
    assert one.exists()
    assert two.exists()


def test_features_are_evicted_and_judges_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores compare only under the very same judge."""
    judges_folder().mkdir(parents=True)
    for name in (f"{'a' * 64}.pt", f"{'a' * 64}-{'b' * 16}-loop-2000-1.json", f"{'a' * 64}-{'b' * 16}-features.npy"):
        (judges_folder() / name).write_bytes(b"x" * 1000)
    assert sorted((each.kind, each.bytes) for each in entries()) == [("features", 1000), ("judge", 2000)]
    monkeypatch.setenv("TRAINING_CACHE_BYTES", "0")
    evict()
    assert [each.kind for each in entries()] == ["judge"]


def test_drafts_left_by_a_kill_are_removed() -> None:
    young, old, held, before = (datasets_folder() / name for name in (".draft-1", ".draft-2", ".draft-3", "tmp4"))
    for draft in (young, old, held, before):
        draft.mkdir(parents=True)
        (draft / "images.npy").write_bytes(b"x")
    with held_elsewhere(held):
        for draft in (old, held, before):
            os.utime(draft, (1, 1))
        evict()
    assert [draft.exists() for draft in (young, old, held, before)] == [True, False, True, False]


def test_a_decoding_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(b"no image")
    with pytest.raises(TrainingError, match="cannot be decoded"):
        load_images(str(tmp_path / "data"), CONFIG)
    assert list(datasets_folder().iterdir()) == []


@pytest.mark.parametrize("text", ["20GB", "-1", "1e9", "²"])
def test_a_limit_that_is_no_number_is_rejected_before_decoding(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINING_CACHE_BYTES", text)
    with pytest.raises(
        TrainingError, match=f"TRAINING_CACHE_BYTES is a number of bytes such as 20000000000, not '{text}'"
    ):
        load_images(str(pictures(tmp_path / "data")), CONFIG)


def test_the_default_limit_is_20_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    assert format_bytes(max_bytes()) == "20.0 GB"
    monkeypatch.setenv("TRAINING_CACHE_BYTES", " 5 ")
    assert max_bytes() == 5


def test_the_command_lists_and_clears(train: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    entry("a" * 32, 10)
    used = entry("b" * 32, 20)
    judges_folder().mkdir(parents=True)
    (judges_folder() / f"{'c' * 64}.pt").write_bytes(b"x")
    with held_elsewhere(used):
        train("cache")
        shown = capsys.readouterr().out
        assert re.search(
            r"^b{12}  images +100\.\d kB  .*name of b+: 1000 × 10 × 10 × 1, 2 labels, in use$", shown, re.M
        )
        assert re.search(r"^aaaaaaaaaaaa  images +100\.\d kB  .*2 labels$", shown, re.M)
        assert re.search(r"^cccccccccccc  judge +1 bytes", shown, re.M)
        assert "200.6 kB of at most 20.0 GB (TRAINING_CACHE_BYTES)" in shown
        train("cache", "clear")
        assert re.match(r"removed 1 entries, 100\.\d kB\nkept bbbbbbbbbbbb: in use", capsys.readouterr().out)
    train("cache", "clear", "bbbb")
    assert [each.kind for each in entries()] == ["judge"]
    with pytest.raises(TrainingError, match="the cache has no entry 'zz'; python -m training cache list shows them"):
        train("cache", "clear", "zz")
    with pytest.raises(TrainingError, match=r"cccccccccccc: a judge, .* add --judges"):
        train("cache", "clear", "cccc")
    assert [each.kind for each in entries()] == ["judge"]
    train("cache", "clear", "--judges")
    assert entries() == []


def test_an_entry_that_is_damaged_is_listed_and_cleared() -> None:
    (entry("bad") / "images.npy").write_bytes(b"")
    entry("sound")
    assert [each.description for each in entries()] == ["damaged", "name of sound: 1000 × 10 × 10 × 1, 2 labels"]
    assert remove(entries()[0])
