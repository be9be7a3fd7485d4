"""Changes in a folder of bundles: which bundles are added, and which may be unloaded."""

import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.loading import source
from serving.loading.source import BundleFolder
from serving.loading.watcher import BundleWatcher, removable


@pytest.fixture
def folder(tmp_path, generators):
    """A folder with ``mlp/1``."""
    generators.ship(tmp_path, "mlp", 1, generators.mlp())
    return tmp_path


@pytest.fixture
def watcher(folder):
    """A watcher after its first poll of ``folder``."""
    watcher = BundleWatcher(BundleFolder(folder))
    assert added(watcher) == ["mlp/1"], "the first poll adds everything"
    return watcher


def added(watcher):
    return [f"{bundle.parent.name}/{bundle.name}" for bundle in watcher.poll().added]


def test_unchanged_folder_adds_nothing(watcher):
    for _ in range(3):
        poll = watcher.poll()
        assert not poll.added
        assert not poll.copying
        assert poll.present == {"mlp/1"}


def test_copied_bundle_is_added_once_two_polls_agree(watcher, folder, generators):
    graph = generators.ship(folder, "mlp", 2, generators.mlp(width=48)) / "generator.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:100])
    assert watcher.poll().copying
    graph.write_bytes(whole)
    assert watcher.poll().copying
    poll = watcher.poll()
    assert not poll.copying
    assert [bundle.name for bundle in poll.added] == ["2"]
    assert added(watcher) == []


@pytest.mark.parametrize("kind", ["time", "permissions", "same time and size"])
def test_bundle_changed_in_place_is_added_again(watcher, folder, kind):
    """New permissions do not change the modification time. A swapped file may have the same time and size."""
    graph = folder / "mlp" / "1" / "generator.onnx"
    if kind == "time":
        os.utime(graph, ns=(1, 1))
    elif kind == "permissions":
        graph.chmod(0o600)
    else:
        twin = graph.with_name(".twin")
        shutil.copy2(graph, twin)
        twin.rename(graph)
    assert added(watcher) == []
    assert added(watcher) == ["mlp/1"]


def test_bundle_is_absent_after_two_polls_and_may_return(watcher, folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "1"
    shutil.move(folder / "mlp" / "1", elsewhere)
    assert watcher.poll().present == {"mlp/1"}, "a swap may be half done"
    assert watcher.poll().present == set()
    shutil.move(elsewhere, folder / "mlp" / "1")
    assert added(watcher) == []
    assert added(watcher) == ["mlp/1"]


def test_gap_of_one_poll_is_no_change(watcher, folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "zoo"
    folder.rename(elsewhere)
    poll = watcher.poll()
    assert poll.present == {"mlp/1"}
    assert "is not a folder of bundles" in poll.missing
    elsewhere.rename(folder)
    poll = watcher.poll()
    assert (poll.present, poll.added, poll.missing) == ({"mlp/1"}, [], None)


def test_forgotten_bundle_is_added_again(watcher, folder):
    watcher.forget(folder / "mlp" / "1")
    poll = watcher.poll()
    assert [bundle.name for bundle in poll.added] == ["1"]
    assert not poll.copying
    assert added(watcher) == []


def test_failed_poll_loses_no_change(watcher, folder, generators, monkeypatch):
    generators.ship(folder, "mlp", 2, generators.mlp())
    with monkeypatch.context() as patched:
        patched.setattr(source, "find_bundles", lambda root: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        with pytest.raises(OSError, match="Too many open files"):
            watcher.poll()
    assert added(watcher) == []
    assert added(watcher) == ["mlp/2"]


def test_unreadable_model_stays_present(watcher, folder, monkeypatch):
    usual = os.scandir

    def scandir(path):
        if path == folder / "mlp":
            raise PermissionError(13, "Permission denied")
        return usual(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for _ in range(3):
        poll = watcher.poll()
        assert poll.present == {"mlp/1"}
        assert list(poll.unreadable) == ["mlp"]
    monkeypatch.undo()
    assert added(watcher) == [], "nothing has changed since"


@pytest.mark.parametrize(
    ("served", "absent", "rejected", "removed"),
    [
        ("a/1 a/2", "a/1", "", "a/1"),
        ("a/1 b/1", "a/1", "", "a/1"),
        ("a/1 b/1", "a/1 b/1", "", ""),
        ("a/1 b/1", "a/1 b/1", "c/1", ""),
        ("a/1 b/1", "a/1", "a/2", ""),
        ("a/1 a/3 b/1", "a/1", "a/2", "a/1"),
        ("a/1 b/1", "a/1", "c/1", "a/1"),
    ],
    ids=[
        "a newer version is loaded",
        "another model is loaded",
        "nothing would be left",
        "only a broken bundle would be left",
        "its replacement is broken",
        "one of its replacements is broken",
        "another model is broken",
    ],
)
def test_removable(served, absent, rejected, removed):
    assert removable(served.split(), absent.split(), rejected.split()) == {*removed.split()}


_names = st.sets(st.sampled_from([f"{model}/{version}" for model in "abc" for version in (1, 2, 3)]))


@given(served=_names, absent=_names, rejected=_names)
def test_a_bundle_is_always_left_to_serve(served, absent, rejected):
    absent &= served
    removed = removable(served, absent, rejected)
    assert removed <= absent, "bundles on disk stay"
    assert served - removed or not served
    broken = {name[0] for name in rejected}
    for name in removed:
        left = {other[0] for other in served - removed}
        assert name[0] in left or name[0] not in broken, "a broken replacement must not remove its model"
