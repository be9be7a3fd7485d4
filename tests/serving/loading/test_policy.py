"""Changes in a folder of bundles: what is opened and what may be unloaded."""

import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.loading import policy as reload
from serving.loading.policy import BundleWatcher, removable


@pytest.fixture
def folder(tmp_path, generators):
    """A folder with ``mlp/1``."""
    generators.ship(tmp_path, "mlp", 1, generators.mlp())
    return tmp_path


@pytest.fixture
def watcher(folder):
    """A watcher that has seen ``folder`` as it is."""
    watcher = BundleWatcher(folder)
    assert added(watcher) == ["mlp/1"], "at first, everything is new"
    return watcher


def added(watcher):
    return [f"{bundle.parent.name}/{bundle.name}" for bundle in watcher.poll().added]


def test_nothing_happens_where_nothing_changes(watcher):
    for _ in range(3):
        poll = watcher.poll()
        assert not poll.added
        assert not poll.copying
        assert poll.present == {"mlp/1"}


def test_a_bundle_comes_once_it_keeps_still(watcher, folder, generators):
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


@pytest.mark.parametrize("kind", ["time", "rights", "same time and size"])
def test_a_bundle_that_is_changed_in_place_comes_again(watcher, folder, kind):
    """Rights come without a new time of the content; a swap may bring a file of the same time and size."""
    graph = folder / "mlp" / "1" / "generator.onnx"
    if kind == "time":
        os.utime(graph, ns=(1, 1))
    elif kind == "rights":
        graph.chmod(0o600)
    else:
        twin = graph.with_name(".twin")
        shutil.copy2(graph, twin)
        twin.rename(graph)
    assert added(watcher) == []
    assert added(watcher) == ["mlp/1"]


def test_a_bundle_goes_after_two_looks_and_may_come_back(watcher, folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "1"
    shutil.move(folder / "mlp" / "1", elsewhere)
    assert watcher.poll().present == {"mlp/1"}, "a swap may be half done"
    assert watcher.poll().present == set()
    shutil.move(elsewhere, folder / "mlp" / "1")
    assert added(watcher) == []
    assert added(watcher) == ["mlp/1"]


def test_a_gap_of_one_look_is_no_change(watcher, folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "zoo"
    folder.rename(elsewhere)
    poll = watcher.poll()
    assert poll.present == {"mlp/1"}
    assert "is not a folder of bundles" in poll.missing
    elsewhere.rename(folder)
    poll = watcher.poll()
    assert (poll.present, poll.added, poll.missing) == ({"mlp/1"}, [], None)


def test_a_forgotten_bundle_comes_again(watcher, folder):
    watcher.forget(folder / "mlp" / "1")
    poll = watcher.poll()
    assert [bundle.name for bundle in poll.added] == ["1"]
    assert not poll.copying
    assert added(watcher) == []


def test_a_look_that_fails_loses_no_change(watcher, folder, generators, monkeypatch):
    generators.ship(folder, "mlp", 2, generators.mlp())
    with monkeypatch.context() as patched:
        patched.setattr(reload, "find_bundles", lambda root: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        with pytest.raises(OSError, match="Too many open files"):
            watcher.poll()
    assert added(watcher) == []
    assert added(watcher) == ["mlp/2"]


def test_a_model_that_cannot_be_read_now_is_not_gone(watcher, folder, monkeypatch):
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
    assert added(watcher) == [], "nothing has changed meanwhile"


@pytest.mark.parametrize(
    ("served", "absent", "refused", "going"),
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
        "nothing would be left but what is broken",
        "its replacement is broken",
        "of its replacements one is broken",
        "something else is broken",
    ],
)
def test_what_may_be_unloaded(served, absent, refused, going):
    assert removable(served.split(), absent.split(), refused.split()) == {*going.split()}


_names = st.sets(st.sampled_from([f"{model}/{version}" for model in "abc" for version in (1, 2, 3)]))


@given(served=_names, absent=_names, refused=_names)
def test_something_is_always_left_to_serve(served, absent, refused):
    absent &= served
    going = removable(served, absent, refused)
    assert going <= absent, "what is on disk stays"
    assert served - going or not served
    broken = {name[0] for name in refused}
    for name in going:
        left = {other[0] for other in served - going}
        assert name[0] in left or name[0] not in broken, "a broken replacement ended its model"
