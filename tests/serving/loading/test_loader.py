"""What is loaded follows the folder: nothing is unloaded before what came with it is loaded, and nothing is lost."""

import logging
import os
import shutil
from types import SimpleNamespace

import pytest

from models.bundle import CARD_FILE, GENERATOR_FILE, BundleUnreadableError
from serving.inference.device import CPU, CUDA, Devices, Hardware
from serving.loading import registry as registry
from serving.loading.loader import BundleLoader
from serving.loading.policy import bundle_name
from serving.loading.registry import RejectedBundle, open_bundle


def put(root, name, content="good"):
    """Writes a bundle whose content says how it opens."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in (CARD_FILE, GENERATOR_FILE):
        (folder / file).write_text(content)


class Opener:
    """Opens bundles by their content: ``good``, or a reason to refuse them, or who is to blame for it."""

    def __init__(self):
        self.opened = []

    def __call__(self, folder, loaded):
        name, content = bundle_name(folder), (folder / GENERATOR_FILE).read_text()
        self.opened.append(name)
        if content == "good":
            return loaded or SimpleNamespace(name=name)
        return RejectedBundle(
            name, content, passes=content == "too many open files", blames_device=content == "no CUDA"
        )


@pytest.fixture
def opener():
    return Opener()


@pytest.fixture
def root(tmp_path):
    """A folder with ``a/1`` and ``b/1``."""
    put(tmp_path / "zoo", "a/1")
    put(tmp_path / "zoo", "b/1")
    return tmp_path / "zoo"


def names(loaded):
    return [engine.name for engine in loaded.engines]


def refused(loaded):
    return {bundle.bundle: bundle.reason for bundle in loaded.refused}


def polls(loader, times):
    return [loader.poll() for _ in range(times)]


def test_the_first_look_opens_all(root, opener):
    put(root, "c/1", "broken")
    loaded = BundleLoader(root, opener).poll()
    assert names(loaded) == ["a/1", "b/1"]
    assert refused(loaded) == {"c/1": "broken"}
    assert loaded.failure is None


@pytest.mark.parametrize("kind", ["a link to a whole folder", "a ConfigMap", "rsync --delete"])
def test_a_swap_is_one_change(tmp_path, opener, kind):
    """The old bundles were unloaded first, and for seconds everything was a 404."""
    root = tmp_path / "root"
    if kind == "a link to a whole folder":
        put(tmp_path / "first", "a/1")
        put(tmp_path / "second", "a/2")
        root.symlink_to("first")
    elif kind == "a ConfigMap":
        put(root / "..first", "a/1")
        put(root / "..second", "a/2")
        (root / "..data").symlink_to("..first")
        (root / "a").symlink_to("..data/a")
    else:
        put(root, "a/1")
    loader = BundleLoader(root, opener)
    assert names(loader.poll()) == ["a/1"]
    if kind == "rsync --delete":
        shutil.rmtree(root / "a" / "1")
        put(root, "a/2")
    else:
        link = root if root.is_symlink() else root / "..data"
        fresh = link.with_name("fresh")
        fresh.symlink_to(str(link.readlink()).replace("first", "second"))
        fresh.rename(link)
    seen = polls(loader, 4)
    assert [names(loaded) for loaded in seen] == [["a/1"], ["a/2"], ["a/2"], ["a/2"]]
    assert all(loaded.failure is None for loaded in seen)
    assert seen[-1].retained == ()


def test_nothing_is_unloaded_while_its_replacement_is_copied(root, opener):
    loader = BundleLoader(root, opener)
    loader.poll()
    shutil.rmtree(root / "a")
    for size in range(4):
        put(root, "a/2", "good" + " " * size)
        loaded = loader.poll()
        assert "a/1" in names(loaded)
    put(root, "a/2")
    assert names(polls(loader, 2)[-1]) == ["b/1", "a/2"]


def test_what_has_not_changed_in_a_swap_is_the_same_engine(root, opener):
    loader = BundleLoader(root, opener)
    (before, _) = loader.poll().engines
    put(root, "a/1")  # the same, written anew
    (after, _) = polls(loader, 2)[-1].engines
    assert opener.opened.count("a/1") == 2
    assert after is before


@pytest.mark.parametrize("kind", ["emptied", "gone", "hidden", "a file"])
def test_an_emptied_folder_is_told_and_what_is_loaded_stays(root, opener, kind):
    loader = BundleLoader(root, opener)
    before = loader.poll().engines
    aside = root.with_name("aside")
    root.rename(aside)
    if kind == "emptied":
        root.mkdir()
    elif kind == "hidden":
        (root / "lost+found").mkdir(parents=True)
    elif kind == "a file":
        root.touch()
    assert loader.poll().failure is None, "a swap may be half done"
    loaded = loader.poll()
    assert loaded.engines == before
    assert loaded.retained == ("a/1", "b/1")
    reason = "holds no bundles any more" if root.is_dir() else "is not a folder of bundles"
    assert loaded.failure == f"{root} {reason}; what was loaded is still served"
    if root.is_dir():
        shutil.rmtree(root)
    root.unlink(missing_ok=True)
    aside.rename(root)
    loaded = polls(loader, 3)[-1]
    assert (loaded.failure, loaded.retained, loaded.engines) == (None, (), before)


def test_a_broken_replacement_changes_nothing(root, opener):
    loader = BundleLoader(root, opener)
    loader.poll()
    shutil.rmtree(root)
    put(root, "a/2", "broken")
    put(root, "b/2")
    loaded = polls(loader, 3)[-1]
    assert names(loaded) == ["a/1", "b/2"]
    assert loaded.retained == ("a/1",)
    assert refused(loaded) == {"a/2": "broken"}
    assert loaded.failure is None
    put(root, "a/2")
    loaded = polls(loader, 2)[-1]
    assert sorted(names(loaded)) == ["a/2", "b/2"]
    assert loaded.retained == loaded.refused == ()


def test_a_device_that_refuses_one_bundle_does_not_lose_the_others(root, opener):
    loader = BundleLoader(root, opener)
    loader.poll()
    put(root, "a/2", "no CUDA")
    put(root, "c/1")
    shutil.rmtree(root / "b")
    loaded = polls(loader, 3)[-1]
    assert names(loaded) == ["a/1", "c/1"]
    assert refused(loaded) == {"a/2": "no CUDA"}


def test_without_a_bundle_the_device_is_the_reason(tmp_path, opener):
    put(tmp_path, "a/1", "broken")
    put(tmp_path, "b/1", "no CUDA")
    assert BundleLoader(tmp_path, opener).poll().failure == "no CUDA"


@pytest.mark.parametrize("missing", [True, False])
def test_a_folder_that_comes_after_the_start_is_found(tmp_path, opener, missing):
    root = tmp_path / "later"
    if not missing:
        root.mkdir()
    loader = BundleLoader(root, opener)
    assert str(root) in loader.poll().failure
    put(root, "a/1")
    loaded = polls(loader, 2)[-1]
    assert names(loaded) == ["a/1"]
    assert loaded.failure is None


def test_a_reason_that_passes_is_tried_again_and_logged_once(tmp_path, opener, caplog):
    put(tmp_path, "a/1", "too many open files")
    put(tmp_path, "b/1", "broken")
    loader = BundleLoader(tmp_path, opener)
    polls(loader, 4)
    assert opener.opened.count("a/1") == 4
    assert opener.opened.count("b/1") == 1
    assert [record.message for record in caplog.records] == [
        "Refused a/1: too many open files",
        "Refused b/1: broken",
    ]


def test_a_refused_bundle_that_is_removed_is_forgotten(root, opener):
    put(root, "c/1", "broken")
    loader = BundleLoader(root, opener)
    assert refused(loader.poll())
    shutil.rmtree(root / "c")
    assert polls(loader, 2)[-1].refused == ()


def test_what_is_left_out_is_logged_once_and_told_always(root, opener, caplog, monkeypatch):
    put(root, "a/v4")
    put(root, "secret/1")
    usual = os.scandir

    def scandir(path):
        if path == root / "secret":
            raise PermissionError(13, "Permission denied")
        return usual(path)

    monkeypatch.setattr(os, "scandir", scandir)
    caplog.set_level(logging.WARNING)
    loaded = polls(BundleLoader(root, opener), 3)[-1]
    assert loaded.ignored == (("a/v4", "is not named like a version; versions are whole numbers: 1, 2, …"),)
    assert refused(loaded) == {"secret": "secret: the folder cannot be read (Permission denied)"}
    assert [record.message for record in caplog.records] == [
        f"Ignored {root / 'a/v4'}: it is not named like a version; versions are whole numbers: 1, 2, …",
        "Refused secret: the folder cannot be read (Permission denied)",
    ]


def test_a_bundle_that_is_loaded_already_is_not_opened_again(tmp_path, generators):
    folder = generators.ship(tmp_path, "mlp", 1, generators.mlp())
    devices = Devices("cpu", Hardware(1))
    engine = open_bundle(folder, None, devices, 2)
    assert open_bundle(folder, engine, devices, 2) is engine
    shutil.rmtree(folder)
    generators.ship(tmp_path, "mlp", 1, generators.mlp(width=48))
    assert open_bundle(folder, engine, devices, 2).card.sha256 != engine.card.sha256


@pytest.mark.parametrize(
    ("on_cuda", "on_cpu", "reason", "blames_device"),
    [
        (RuntimeError("no driver"), None, "FIGMENT_DEVICE=cuda cannot be used: no driver", True),
        (RuntimeError("no driver"), ValueError("no graph"), "mlp/1: cannot be run: no graph", False),
    ],
)
def test_who_is_to_blame_for_a_bundle_that_does_not_run(
    tmp_path, generators, monkeypatch, on_cuda, on_cpu, reason, blames_device
):
    folder = generators.ship(tmp_path, "mlp", 1, generators.mlp())

    def opened(onnx, provider, hardware):
        if error := {CUDA: on_cuda, CPU: on_cpu}[provider]:
            raise error
        return SimpleNamespace(get_providers=lambda: [provider])

    monkeypatch.setattr(registry, "open_engine", lambda bundle, devices, most: devices.open(b"", lambda *made: made))
    found = open_bundle(folder, None, Devices("cuda", Hardware(1), opened), 2)
    assert found == RejectedBundle("mlp/1", reason, blames_device=blames_device)


def test_a_bundle_that_cannot_be_read_now_passes(tmp_path, generators, monkeypatch):
    folder = generators.ship(tmp_path, "mlp", 1, generators.mlp())

    def unreadable(folder):
        raise BundleUnreadableError("mlp/1: cannot read card.json (Too many open files)")

    monkeypatch.setattr(registry, "read_bundle", unreadable)
    assert open_bundle(folder, None, Devices("cpu", Hardware(1)), 2).passes
