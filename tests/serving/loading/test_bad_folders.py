"""Folders of bundles as operators have them: ConfigMaps, copies in progress, and one broken bundle among good ones."""

import shutil
from functools import partial

import pytest

from serving.inference.device import CPU, CUDA, Devices, Hardware, open_onnxruntime
from serving.inference.engine import _BoundBuffers
from serving.loading.loader import BundleLoader
from serving.loading.opening import open_bundle
from serving.loading.source import BundleFolder


def loader_of(root, devices=None):
    opener = partial(open_bundle, devices=devices or Devices("cpu", Hardware(1)), max_batch=2)
    return BundleLoader(BundleFolder(root), opener, threads=2)


def served(loaded):
    return {f"{engine.card.name}/{engine.card.version}": engine.card.sha256 for engine in loaded.engines}


def test_a_configmap_or_secret_as_a_volume_is_followed_through_its_links(tmp_path, generators):
    """Kubernetes links ``..data`` to a dated folder, and each entry to ``..data``. A change swaps one link."""
    first = generators.ship(tmp_path / "..2026_01_01", "mlp", 1, generators.mlp())
    generators.ship(tmp_path / "..2026_01_02", "mlp", 1, generators.mlp(width=48))
    (tmp_path / "..data").symlink_to("..2026_01_01")
    (tmp_path / "mlp").symlink_to("..data/mlp")
    loader = loader_of(tmp_path)
    loaded = loader.poll()
    before = served(loaded)
    assert [*before] == ["mlp/1"]
    assert (loaded.rejected, loaded.ignored) == ((), ())

    (tmp_path / "..data_tmp").symlink_to("..2026_01_02")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    shutil.rmtree(first.parents[1])
    loader.poll()
    after = served(loader.poll())
    assert [*after] == ["mlp/1"]
    assert after != before, "the replaced bundle is loaded"


def test_a_half_copied_bundle_is_not_served_and_disturbs_no_other(tmp_path, generators):
    """A copy that stalls looks finished: its hash says that it is not."""
    root = tmp_path / "zoo"
    generators.ship(root, "mlp", 1, generators.mlp())
    whole = generators.ship(tmp_path / "source", "mlp", 2, generators.mlp(width=48))
    loader = loader_of(root)
    before = loader.poll().engines
    target = root / "mlp" / "2"
    target.mkdir()
    shutil.copy(whole / "card.json", target)
    graph = (whole / "generator.onnx").read_bytes()
    for part in (graph[:1000], graph[: len(graph) // 2]):
        (target / "generator.onnx").write_bytes(part)
        for _ in range(3):
            loaded = loader.poll()
            assert loaded.engines == before
    assert [bundle.bundle for bundle in loaded.rejected] == ["mlp/2"]
    assert "generator.onnx has been changed" in loaded.rejected[0].reason
    (target / "generator.onnx").write_bytes(graph)
    loader.poll()
    loaded = loader.poll()
    assert [*served(loaded)] == ["mlp/1", "mlp/2"]
    assert loaded.rejected == ()


class OnTheGpu:
    """A session on the CPU that says it runs on CUDA."""

    def __init__(self, session):
        self._session = session

    def __getattr__(self, name):
        return getattr(self._session, name)

    def get_providers(self):
        return [CUDA, CPU]


def stand_in_gpu(onnx, provider, hardware):
    session = open_onnxruntime(onnx, CPU, hardware)
    return OnTheGpu(session) if provider == CUDA else session


@pytest.mark.parametrize("device", ["auto", "cuda"])
@pytest.mark.parametrize("name", ["a-broken", "z-broken"], ids=["first", "last"])
@pytest.mark.parametrize("fault", ["changed", "no graph", "other inputs"])
def test_a_broken_bundle_does_not_move_the_others_off_the_gpu(tmp_path, generators, monkeypatch, device, name, fault):
    def bound(session, card, feed, device, hardware):
        return _BoundBuffers(session, card, feed, "cpu", hardware)

    monkeypatch.setattr("serving.inference.engine._BoundBuffers", bound)
    generators.ship(tmp_path, "conv", 1, generators.conv())
    generators.ship(tmp_path, "mlp", 1, generators.mlp())
    graph, noise_dim, labels, image = generators.mlp()
    if fault == "no graph":
        graph = b"not a graph"
    folder = generators.ship(tmp_path, name, 1, (graph, noise_dim + (fault == "other inputs"), labels, image))
    if fault == "changed":
        (folder / "generator.onnx").write_bytes(graph + b"\0")
    devices = Devices(device, Hardware(1), stand_in_gpu)
    loaded = loader_of(tmp_path, devices).poll()
    assert {engine.card.name: engine.provider for engine in loaded.engines} == {"conv": "cuda", "mlp": "cuda"}
    assert [bundle.bundle for bundle in loaded.rejected] == [f"{name}/1"]
    assert not devices.has_fallen_back
    assert loaded.failure is None
