"""The loaded engines follow the folder: replacements are loaded before anything is unloaded, and nothing is lost."""

import logging
import os
import shutil
import threading
from types import SimpleNamespace

import pytest

from models.bundle import CARD_FILE, GENERATOR_FILE, BundleUnreadableError
from serving.inference import device
from serving.inference.device import CPU, CUDA, Devices, Hardware
from serving.loading import opening
from serving.loading.loader import BundleLoader
from serving.loading.opening import RejectedBundle, open_bundle
from serving.loading.source import BundleFolder
from serving.loading.watcher import bundle_name


def write_bundle(root, name, content="good"):
    """Writes a bundle whose content determines how it opens."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in (CARD_FILE, GENERATOR_FILE):
        (folder / file).write_text(content)


class Opener:
    """Opens bundles by their content: ``good``, or the reason to reject them."""

    def __init__(self):
        self.opened = []

    def __call__(self, folder, loaded):
        name, content = bundle_name(folder), (folder / GENERATOR_FILE).read_text()
        self.opened.append(name)
        if content == "good":
            return loaded or SimpleNamespace(name=name)
        return RejectedBundle(
            name, content, is_temporary=content == "too many open files", device_failed=content == "no CUDA"
        )


@pytest.fixture
def opener():
    return Opener()


@pytest.fixture
def root(tmp_path):
    """A folder with ``a/1`` and ``b/1``."""
    write_bundle(tmp_path / "zoo", "a/1")
    write_bundle(tmp_path / "zoo", "b/1")
    return tmp_path / "zoo"


def names(loaded):
    return [engine.name for engine in loaded.engines]


def rejected(loaded):
    return {bundle.bundle: bundle.reason for bundle in loaded.rejected}


def polls(loader, times):
    return [loader.poll() for _ in range(times)]


def test_first_poll_opens_all_bundles(root, opener):
    write_bundle(root, "c/1", "broken")
    loaded = BundleLoader(BundleFolder(root), opener).poll()
    assert names(loaded) == ["a/1", "b/1"]
    assert rejected(loaded) == {"c/1": "broken"}
    assert loaded.failure is None


def test_bundles_are_opened_at_once_and_listed_in_order(root, opener):
    """Each waits until the other is being opened, too."""
    write_bundle(root, "c/1", "broken")
    together = threading.Barrier(3, timeout=20)

    def open_together(folder, loaded):
        together.wait()
        return opener(folder, loaded)

    loaded = BundleLoader(BundleFolder(root), open_together, threads=3).poll()
    assert names(loaded) == ["a/1", "b/1"]
    assert rejected(loaded) == {"c/1": "broken"}


@pytest.mark.parametrize("kind", ["a link to a whole folder", "a ConfigMap", "rsync --delete"])
def test_swap_is_one_change(tmp_path, opener, kind):
    """Unloading the old bundles first would answer every request with 404 for seconds."""
    root = tmp_path / "root"
    if kind == "a link to a whole folder":
        write_bundle(tmp_path / "first", "a/1")
        write_bundle(tmp_path / "second", "a/2")
        root.symlink_to("first")
    elif kind == "a ConfigMap":
        write_bundle(root / "..first", "a/1")
        write_bundle(root / "..second", "a/2")
        (root / "..data").symlink_to("..first")
        (root / "a").symlink_to("..data/a")
    else:
        write_bundle(root, "a/1")
    loader = BundleLoader(BundleFolder(root), opener)
    assert names(loader.poll()) == ["a/1"]
    if kind == "rsync --delete":
        shutil.rmtree(root / "a" / "1")
        write_bundle(root, "a/2")
    else:
        link = root if root.is_symlink() else root / "..data"
        fresh = link.with_name("fresh")
        fresh.symlink_to(str(link.readlink()).replace("first", "second"))
        fresh.rename(link)
    seen = polls(loader, 4)
    assert [names(loaded) for loaded in seen] == [["a/1"], ["a/2"], ["a/2"], ["a/2"]]
    assert all(loaded.failure is None for loaded in seen)
    assert seen[-1].retained == ()


def test_bundle_stays_loaded_while_its_replacement_is_copied(root, opener):
    loader = BundleLoader(BundleFolder(root), opener)
    loader.poll()
    shutil.rmtree(root / "a")
    for size in range(4):
        write_bundle(root, "a/2", "good" + " " * size)
        loaded = loader.poll()
        assert "a/1" in names(loaded)
    write_bundle(root, "a/2")
    assert names(polls(loader, 2)[-1]) == ["b/1", "a/2"]


def test_unchanged_bundle_keeps_its_engine_in_a_swap(root, opener):
    loader = BundleLoader(BundleFolder(root), opener)
    (before, _) = loader.poll().engines
    write_bundle(root, "a/1")  # the same content, written again
    (after, _) = polls(loader, 2)[-1].engines
    assert opener.opened.count("a/1") == 2
    assert after is before


@pytest.mark.parametrize("kind", ["emptied", "gone", "hidden", "a file"])
def test_emptied_folder_is_reported_and_engines_stay_loaded(root, opener, kind):
    loader = BundleLoader(BundleFolder(root), opener)
    before = loader.poll().engines
    aside = root.with_name("aside")
    root.rename(aside)
    if kind == "emptied":
        root.mkdir()
    elif kind == "hidden":
        (root / "lost+found").mkdir(parents=True)
    elif kind == "a file":
        root.touch()
    assert loader.poll().failure is None, "a swap may be in progress"
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


def test_broken_replacement_changes_nothing(root, opener):
    loader = BundleLoader(BundleFolder(root), opener)
    loader.poll()
    shutil.rmtree(root)
    write_bundle(root, "a/2", "broken")
    write_bundle(root, "b/2")
    loaded = polls(loader, 3)[-1]
    assert names(loaded) == ["a/1", "b/2"]
    assert loaded.retained == ("a/1",)
    assert rejected(loaded) == {"a/2": "broken"}
    assert loaded.failure is None
    write_bundle(root, "a/2")
    loaded = polls(loader, 2)[-1]
    assert sorted(names(loaded)) == ["a/2", "b/2"]
    assert loaded.retained == loaded.rejected == ()


def test_device_failure_of_one_bundle_does_not_lose_the_others(root, opener):
    loader = BundleLoader(BundleFolder(root), opener)
    loader.poll()
    write_bundle(root, "a/2", "no CUDA")
    write_bundle(root, "c/1")
    shutil.rmtree(root / "b")
    loaded = polls(loader, 3)[-1]
    assert names(loaded) == ["a/1", "c/1"]
    assert rejected(loaded) == {"a/2": "no CUDA"}


def test_device_failure_is_the_reason_if_no_bundle_is_loaded(tmp_path, opener):
    write_bundle(tmp_path, "a/1", "broken")
    write_bundle(tmp_path, "b/1", "no CUDA")
    assert BundleLoader(BundleFolder(tmp_path), opener).poll().failure == "no CUDA"


@pytest.mark.parametrize("missing", [True, False])
def test_folder_created_after_the_start_is_found(tmp_path, opener, missing):
    root = tmp_path / "later"
    if not missing:
        root.mkdir()
    loader = BundleLoader(BundleFolder(root), opener)
    assert str(root) in loader.poll().failure
    write_bundle(root, "a/1")
    loaded = polls(loader, 2)[-1]
    assert names(loaded) == ["a/1"]
    assert loaded.failure is None


def test_temporary_rejection_is_retried_and_logged_once(tmp_path, opener, caplog):
    write_bundle(tmp_path, "a/1", "too many open files")
    write_bundle(tmp_path, "b/1", "broken")
    loader = BundleLoader(BundleFolder(tmp_path), opener)
    polls(loader, 4)
    assert opener.opened.count("a/1") == 4
    assert opener.opened.count("b/1") == 1
    assert [record.message for record in caplog.records] == [
        "Rejected a/1: too many open files",
        "Rejected b/1: broken",
    ]


def test_removed_bundle_is_no_longer_reported_as_rejected(root, opener):
    write_bundle(root, "c/1", "broken")
    loader = BundleLoader(BundleFolder(root), opener)
    assert rejected(loader.poll())
    shutil.rmtree(root / "c")
    assert polls(loader, 2)[-1].rejected == ()


def test_skipped_folder_is_logged_once_and_always_reported(root, opener, caplog, monkeypatch):
    write_bundle(root, "a/v4")
    write_bundle(root, "secret/1")
    usual = os.scandir

    def scandir(path):
        if path == root / "secret":
            raise PermissionError(13, "Permission denied")
        return usual(path)

    monkeypatch.setattr(os, "scandir", scandir)
    caplog.set_level(logging.WARNING)
    loaded = polls(BundleLoader(BundleFolder(root), opener), 3)[-1]
    assert loaded.ignored == (("a/v4", "is not named like a version; versions are whole numbers: 1, 2, …"),)
    assert rejected(loaded) == {"secret": "secret: the folder cannot be read (Permission denied)"}
    assert [record.message for record in caplog.records] == [
        f"Ignored {root / 'a/v4'}: it is not named like a version; versions are whole numbers: 1, 2, …",
        "Rejected secret: the folder cannot be read (Permission denied)",
    ]


def test_loaded_bundle_is_not_opened_again(tmp_path, generators):
    folder = generators.ship(tmp_path, "mlp", 1, generators.mlp())
    devices = Devices("cpu", Hardware(1))
    engine = open_bundle(folder, None, devices, 2)
    assert open_bundle(folder, engine, devices, 2) is engine
    shutil.rmtree(folder)
    generators.ship(tmp_path, "mlp", 1, generators.mlp(width=48))
    assert open_bundle(folder, engine, devices, 2).card.sha256 != engine.card.sha256


@pytest.mark.parametrize(
    ("on_cuda", "on_cpu", "reason", "device_failed"),
    [
        (RuntimeError("no driver"), None, "FIGMENT_DEVICE=cuda cannot be used: no driver. NVIDIA driver: none", True),
        (RuntimeError("no driver"), ValueError("no graph"), "mlp/1: cannot be run: no graph", False),
    ],
)
def test_rejection_of_a_bundle_that_does_not_run_names_device_or_graph(
    tmp_path, generators, monkeypatch, on_cuda, on_cpu, reason, device_failed
):
    folder = generators.ship(tmp_path, "mlp", 1, generators.mlp())

    def opened(onnx, provider, hardware):
        if error := {CUDA: on_cuda, CPU: on_cpu}[provider]:
            raise error
        return SimpleNamespace(get_providers=lambda: [provider])

    monkeypatch.setattr(
        opening, "open_engine", lambda bundle, devices, max_batch: devices.open(b"", lambda *opened: opened)
    )
    monkeypatch.setattr(device, "describe_driver", lambda: "NVIDIA driver: none")
    found = open_bundle(folder, None, Devices("cuda", Hardware(1), opened), 2)
    assert found == RejectedBundle("mlp/1", reason, device_failed=device_failed)


def test_unreadable_bundle_is_a_temporary_rejection(tmp_path, generators, monkeypatch):
    folder = generators.ship(tmp_path, "mlp", 1, generators.mlp())

    def unreadable(folder):
        raise BundleUnreadableError("mlp/1: cannot read card.json (Too many open files)")

    monkeypatch.setattr(opening, "read_bundle", unreadable)
    assert open_bundle(folder, None, Devices("cpu", Hardware(1)), 2).is_temporary
