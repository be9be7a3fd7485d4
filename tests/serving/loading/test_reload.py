"""Reloading without a restart, as clients and operators see it. Every start ends as ready or with a reason."""

import asyncio
import shutil
import subprocess
import sys
import threading
import weakref
from contextlib import asynccontextmanager

import httpx
import pytest

from serving import runtime
from serving.config.settings import Settings
from serving.errors import ApiError
from serving.inference.device import Devices, Hardware
from serving.loading import loader, served_engines
from serving.loading.start import start_loading
from serving.metrics import Metrics
from serving.process.worker import run_in_daemon_thread
from serving.runtime import Phase, Runtime

RELOADING = {"reload_seconds": 0.02, "deadline_seconds": 0.1, "max_batch": 2}


@pytest.fixture
def folder(tmp_path, generators):
    """A folder with ``mlp/1``."""
    root = tmp_path / "zoo"
    generators.ship(root, "mlp", 1, generators.mlp())
    return root


@asynccontextmanager
async def running(folder, **settings):
    """A runtime in this process, after its first poll of the folder."""
    service = Runtime(Settings(models=folder, **settings), Metrics())
    service.start(start_loading(service.settings, Devices("cpu", Hardware(1))))
    try:
        await until(lambda: service.phase is not Phase.LOADING)
        yield service
    finally:
        service.close()


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def versions(service):
    return [f"{engine.card.name}/{engine.card.version}" for engine in service.registry]


def metric(service, name):
    lines = service.metrics.exposition().decode().splitlines()
    return [line for line in lines if line.startswith(name)]


def test_swap_never_leaves_a_moment_without_a_model(folder, generators, tmp_path):
    async def swap():
        async with running(folder, **RELOADING) as service:
            seen = set()
            generators.ship(tmp_path / "next", "mlp", 2, generators.mlp(width=48))
            shutil.rmtree(folder / "mlp" / "1")
            (tmp_path / "next" / "mlp" / "2").rename(folder / "mlp" / "2")

            def swapped():
                seen.add((service.status()["status"], service.registry.find("mlp", None).card.version))
                return versions(service) == ["mlp/2"]

            await until(swapped)
            assert seen == {("ready", 1), ("ready", 2)}
            (info,) = metric(service, "figment_model_info{")
            assert 'version="2"' in info
            assert info.endswith(" 1.0")

    asyncio.run(swap())


@pytest.mark.parametrize("swap", [1, 2])
def test_a_removed_generator_leaves_the_memory(folder, generators, monkeypatch, swap):
    """Free memory is returned to the system when nothing refers to the generator any more. Also to the first one."""
    alive_at_release = []

    async def follow():
        async with running(folder, **RELOADING) as service:
            for version in range(2, swap + 2):
                (engine,) = service.registry
                reference = weakref.ref(engine)
                del engine
                monkeypatch.setattr(
                    runtime,
                    "release_free_memory",
                    lambda reference=reference: alive_at_release.append(reference() is not None),
                )
                alive_at_release.clear()
                generators.ship(folder, "mlp", version, generators.mlp())
                shutil.rmtree(folder / "mlp" / str(version - 1))
                await until(lambda: False in alive_at_release)  # after the unloading
                assert versions(service) == [f"mlp/{version}"]
                assert alive_at_release[0], "also after the loading"

    asyncio.run(follow())


def test_series_of_unloaded_bundles_are_removed(folder, generators):
    """A process that reloads for months must not collect series. Those of a model stay as long as a version does."""

    def labels(service):
        return {
            line.rpartition(" ")[0]
            for line in metric(service, "figment_")
            if 'model="mlp"' in line or 'model="conv"' in line
        }

    async def follow():
        async with running(folder, **RELOADING) as service:
            service.metrics.images_of("mlp", "1", "png").inc(3)
            before = labels(service)
            generators.ship(folder, "conv", 1, generators.conv())
            generators.ship(folder, "mlp", 2, generators.mlp())
            await until(lambda: versions(service) == ["conv/1", "mlp/1", "mlp/2"])
            service.metrics.images_of("conv", "1", "png").inc(4)
            service.metrics.images_of("mlp", "2", "png").inc(5)
            shutil.rmtree(folder / "conv")
            shutil.rmtree(folder / "mlp" / "2")
            await until(lambda: labels(service) == before)
            assert metric(service, "figment_images_total") == [
                'figment_images_total{format="png",model="mlp",version="1"} 3.0'
            ]
            service.metrics.images_of("mlp", "2", "png").inc(2)  # a counter from before would be lost
            assert len(metric(service, "figment_images_total")) == 2

    asyncio.run(follow())


def test_series_stay_if_a_version_is_replaced_by_itself(folder, generators):
    async def follow():
        async with running(folder, **RELOADING) as service:
            (engine,) = service.registry
            service.metrics.images_of("mlp", "1", "png").inc(3)
            generators.ship(folder.parent / "next", "mlp", 1, generators.mlp(width=48))
            (folder / "mlp" / "1").rename(folder.parent / "aside")
            (folder.parent / "next" / "mlp" / "1").rename(folder / "mlp" / "1")
            await until(lambda: [*service.registry] != [engine])
            await until(lambda: engine not in service._served._schedulers)
            assert metric(service, "figment_images_total") == [
                'figment_images_total{format="png",model="mlp",version="1"} 3.0'
            ]
            assert metric(service, 'figment_queue_wait_seconds_count{model="mlp"}')

    asyncio.run(follow())


def test_emptied_folder_is_not_ready_and_still_serves(folder, tmp_path):
    async def empty():
        async with running(folder, **RELOADING) as service:
            folder.rename(tmp_path / "aside")
            await until(lambda: not service.is_ready)
            status = service.status()
            assert status["status"] == "emptied"
            assert status["reason"] == f"{folder} is not a folder of bundles; what was loaded is still served"
            assert status["retained"] == ["mlp/1"]
            assert metric(service, "figment_ready") == ["figment_ready 0.0"]
            with pytest.raises(ApiError, match="what was loaded is still served"):
                service.check_ready()
            with service.track_request():
                assert service.registry.find(None, None).card.name == "mlp"
            (tmp_path / "aside").rename(folder)
            await until(lambda: service.is_ready)
            assert service.status()["status"] == "ready"
            assert metric(service, "figment_ready") == ["figment_ready 1.0"]

    asyncio.run(empty())


def test_failed_poll_is_reported_and_polling_continues(folder, generators, monkeypatch, caplog):
    def fail(watcher):
        raise OSError(24, "Too many open files")

    async def follow():
        async with running(folder, **RELOADING) as service:
            assert service.status()["reload"]["status"] == "watching"
            with monkeypatch.context() as patched:
                patched.setattr(loader.BundleWatcher, "poll", fail)
                await until(lambda: float(metric(service, "figment_reload_failures_total")[0].split()[1]) >= 3)
                failing = service.status()["reload"]
                assert failing["status"] == "failing"
                assert "Too many open files" in failing["error"]
                assert failing["since"]
                assert service.is_ready, "loaded engines can still be used"
            generators.ship(folder, "mlp", 2, generators.mlp())
            await until(lambda: len(versions(service)) == 2)
            assert "error" not in service.status()["reload"]
            (timestamp,) = metric(service, "figment_reload_last_success_timestamp_seconds")
            assert float(timestamp.split()[1]) > 1.7e9

    asyncio.run(follow())
    assert len([record for record in caplog.records if "Too many open files" in record.message]) == 1


def test_thread_that_does_not_start_loses_no_bundle(folder, generators, monkeypatch):
    def fail(*args):
        raise RuntimeError("can't start new thread")

    async def follow():
        async with running(folder, **RELOADING) as service:
            with monkeypatch.context() as patched:
                patched.setattr(served_engines, "Scheduler", fail)
                generators.ship(folder, "mlp", 2, generators.mlp())
                await until(lambda: "new thread" in service.status()["reload"].get("error", ""))
                assert versions(service) == ["mlp/1"]
            await until(lambda: versions(service) == ["mlp/1", "mlp/2"])

    asyncio.run(follow())


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), RuntimeError("surprise")])
@pytest.mark.parametrize("reload_seconds", [0, 0.02])
def test_failed_start_reports_its_reason(folder, monkeypatch, error, reload_seconds):
    def fail(root):
        raise error

    async def start():
        with monkeypatch.context() as patched:
            patched.setattr("serving.loading.source.find_bundles", fail)
            async with running(folder, reload_seconds=reload_seconds, max_batch=2) as service:
                status = service.status()
                assert (status["status"], status["models"]) == ("unusable", [])
                assert f"cannot load the bundles in {folder}: " in status["reason"]
                assert str(error) in status["reason"]
                assert ("stays so until a restart" in status["reason"]) == (not reload_seconds)
                patched.undo()
                if reload_seconds:
                    await until(lambda: service.is_ready)
                    assert "reason" not in service.status()

    asyncio.run(start())


@pytest.mark.parametrize("missing", ["the folder", "all bundles"])
def test_first_bundle_may_be_added_later(tmp_path, generators, missing):
    root = tmp_path / "later"
    if missing == "all bundles":
        root.mkdir()

    async def follow():
        async with running(root, **RELOADING) as service:
            assert service.phase is Phase.UNUSABLE
            assert str(root) in service.status()["reason"]
            generators.ship(root, "mlp", 1, generators.mlp())
            await until(lambda: service.phase is Phase.READY)
            assert service.registry.find(None, None).card.name == "mlp"

    asyncio.run(follow())


def test_default_model_is_fixed_at_the_start(folder, generators):
    """A bundle added later must not become the default, even if its name sorts first."""

    async def follow():
        async with running(folder, **RELOADING) as service:
            generators.ship(folder, "a-new-one", 1, generators.mlp())
            await until(lambda: len(versions(service)) == 2)
            assert service.registry.find(None, None).card.name == "mlp"
            shutil.rmtree(folder / "mlp")
            await until(lambda: versions(service) == ["a-new-one/1"])
            with pytest.raises(ApiError, match="the default, 'mlp', is not loaded") as error:
                service.registry.find(None, None)
            assert error.value.status == 404

    asyncio.run(follow())


def test_endless_load_does_not_keep_the_process():
    """A lost network mount may never answer. The thread that waits for it must not delay the end of the process."""

    async def hang():
        released = threading.Event()
        task = asyncio.create_task(run_in_daemon_thread(released.wait, "load"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        are_daemons = [thread.daemon for thread in threading.enumerate() if thread.name == "load"]
        released.set()
        assert are_daemons == [True]

    asyncio.run(hang())


class ConstantClient(threading.Thread):
    """Requests images without a pause, and records versions and failures."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.versions, self.failed, self.stopped = url, [], [], threading.Event()
        self.start()

    def run(self):
        with httpx.Client(base_url=self.url, timeout=20) as client:
            while not self.stopped.is_set():
                answer = client.post("/generate", json={"seeds": [1]}, headers={"Accept": "application/json"})
                if answer.status_code == 200:
                    assert answer.headers["x-figment-version"] == str(answer.json()["version"])
                    self.versions.append(answer.json()["version"])
                else:
                    self.failed.append(answer.text)


def test_versions_are_swapped_under_load(serve, folder, generators):
    with serve(models=folder, reload_seconds=0.1, deadline_seconds=1, max_batch=4, intra_op_threads=1) as server:
        server.wait(lambda answer: answer.status_code == 200)
        client = ConstantClient(server.url)
        server.until(lambda: 1 in client.versions)

        generators.ship(folder, "mlp", 2, generators.mlp(width=48))
        server.until(lambda: client.versions[-1] == 2)
        assert server.metric("figment_model_info", model="mlp") == 2

        graph = generators.ship(folder, "mlp", 3, generators.mlp()) / "generator.onnx"
        graph.write_bytes(graph.read_bytes()[:-1])
        server.until(lambda: httpx.get(server.url + "/readyz").json()["refused"])
        assert "mlp/3" in httpx.get(server.url + "/readyz").json()["refused"][0]["reason"]
        assert client.versions[-1] == 2

        shutil.rmtree(folder / "mlp" / "2")
        server.until(lambda: client.versions[-1] == 1)
        server.until(lambda: server.metric("figment_model_info", model="mlp") == 1)
        server.until(lambda: "Unloaded mlp/2" in server.log)

        folder.rename(folder.with_name("aside"))
        assert server.answer_with(503, "/readyz").json()["status"] == "emptied"
        assert "still served" in server.answer_with(503, "/v2/health/ready").json()["error"]
        count = len(client.versions)
        server.until(lambda: len(client.versions) > count)
        folder.with_name("aside").rename(folder)
        server.answer_with(200, "/readyz")
        server.answer_with(200, "/v2/health/ready")
        client.stopped.set()
        client.join(10)
        assert client.failed == []


def test_a_thread_that_never_starts_ends_the_process(tmp_path, generators):
    """It blocks the event loop: no probe would ever be answered."""
    generators.ship(tmp_path / "zoo", "mlp", 1, generators.mlp())
    program = f"""
import asyncio, threading
from pathlib import Path
from serving.config.settings import Settings
from serving.inference.device import Devices, Hardware
from serving.loading import served_engines
from serving.loading.start import start_loading
from serving.metrics import Metrics
from serving.runtime import Runtime
served_engines._START_SECONDS = 0.3
class Hung:
    def __init__(self, *_):
        threading.Event().wait()
served_engines.Scheduler = Hung
async def main():
    runtime = Runtime(Settings(models=Path({str(tmp_path / "zoo")!r}), max_batch=2), Metrics())
    runtime.start(start_loading(runtime.settings, Devices("cpu", Hardware(1))))
    await asyncio.sleep(60)
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=40, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "_start_schedulers" in ended.stderr
