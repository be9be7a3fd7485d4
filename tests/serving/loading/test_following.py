"""New bundles without a restart, as clients and operators see it; and every start ends as ready or with a reason."""

import asyncio
import shutil
import threading
from contextlib import asynccontextmanager

import httpx
import pytest

from serving import runtime
from serving.config.settings import Settings
from serving.errors import ApiError
from serving.inference.device import Devices, Hardware
from serving.loading import loader as loading
from serving.metrics import Metrics
from serving.runtime import Phase, Runtime

WATCHED = {"reload_seconds": 0.02, "deadline_seconds": 0.1, "max_batch": 2}


@pytest.fixture
def folder(tmp_path, generators):
    """A folder with ``mlp/1``."""
    root = tmp_path / "zoo"
    generators.ship(root, "mlp", 1, generators.mlp())
    return root


@asynccontextmanager
async def running(folder, **settings):
    """A runtime in this process that has ended its first look into the folder."""
    service = Runtime(Settings(models=folder, **settings), Metrics())
    service.start(Devices("cpu", Hardware(1)))
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


def test_a_swap_never_leaves_a_moment_without_a_model(folder, generators, tmp_path):
    async def swap():
        async with running(folder, **WATCHED) as service:
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


def test_an_emptied_folder_is_not_ready_and_goes_on_serving(folder, tmp_path):
    async def empty():
        async with running(folder, **WATCHED) as service:
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


def test_a_look_that_fails_is_told_and_the_next_one_goes_on(folder, generators, monkeypatch, caplog):
    def fail(watcher):
        raise OSError(24, "Too many open files")

    async def follow():
        async with running(folder, **WATCHED) as service:
            assert service.status()["reload"]["status"] == "watching"
            with monkeypatch.context() as patched:
                patched.setattr(loading.BundleWatcher, "poll", fail)
                await until(lambda: float(metric(service, "figment_reload_failures_total")[0].split()[1]) >= 3)
                failing = service.status()["reload"]
                assert failing["status"] == "failing"
                assert "Too many open files" in failing["error"]
                assert failing["since"]
                assert service.is_ready, "what is loaded can be served"
            generators.ship(folder, "mlp", 2, generators.mlp())
            await until(lambda: len(versions(service)) == 2)
            assert "error" not in service.status()["reload"]
            (timestamp,) = metric(service, "figment_reload_last_success_timestamp_seconds")
            assert float(timestamp.split()[1]) > 1.7e9

    asyncio.run(follow())
    assert len([record for record in caplog.records if "Too many open files" in record.message]) == 1


def test_a_thread_that_does_not_start_loses_no_bundle(folder, generators, monkeypatch):
    def fail(*args):
        raise RuntimeError("can't start new thread")

    async def follow():
        async with running(folder, **WATCHED) as service:
            with monkeypatch.context() as patched:
                patched.setattr(runtime, "Scheduler", fail)
                generators.ship(folder, "mlp", 2, generators.mlp())
                await until(lambda: "new thread" in service.status()["reload"].get("error", ""))
                assert versions(service) == ["mlp/1"]
            await until(lambda: versions(service) == ["mlp/1", "mlp/2"])

    asyncio.run(follow())


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), RuntimeError("surprise")])
@pytest.mark.parametrize("reload_seconds", [0, 0.02])
def test_every_start_ends_with_a_reason(folder, monkeypatch, error, reload_seconds):
    def fail(root):
        raise error

    async def start():
        with monkeypatch.context() as patched:
            patched.setattr("serving.loading.policy.find_bundles", fail)
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
def test_the_first_bundle_may_come_later(tmp_path, generators, missing):
    root = tmp_path / "later"
    if missing == "all bundles":
        root.mkdir()

    async def follow():
        async with running(root, **WATCHED) as service:
            assert service.phase is Phase.UNUSABLE
            assert str(root) in service.status()["reason"]
            generators.ship(root, "mlp", 1, generators.mlp())
            await until(lambda: service.phase is Phase.READY)
            assert service.registry.find(None, None).card.name == "mlp"

    asyncio.run(follow())


def test_the_default_model_is_fixed_at_the_start(folder, generators):
    """A bundle that was added while the service ran became the default if its name sorted first."""

    async def follow():
        async with running(folder, **WATCHED) as service:
            generators.ship(folder, "a-new-one", 1, generators.mlp())
            await until(lambda: len(versions(service)) == 2)
            assert service.registry.find(None, None).card.name == "mlp"
            shutil.rmtree(folder / "mlp")
            await until(lambda: versions(service) == ["a-new-one/1"])
            with pytest.raises(ApiError, match="the default, 'mlp', is not loaded") as refused:
                service.registry.find(None, None)
            assert refused.value.status == 404

    asyncio.run(follow())


def test_a_load_that_never_ends_does_not_keep_the_process():
    """A lost network mount may never answer: the thread that waits for it must not hold up the end."""

    async def hang():
        held = threading.Event()
        task = asyncio.create_task(runtime.run_in_daemon_thread(held.wait))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        holding = [thread.daemon for thread in threading.enumerate() if thread.name == "load"]
        held.set()
        assert holding == [True]

    asyncio.run(hang())


class Asking(threading.Thread):
    """Asks for images all the time, and keeps what went wrong."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.versions, self.failed, self.enough = url, [], [], threading.Event()
        self.start()

    def run(self):
        with httpx.Client(base_url=self.url, timeout=20) as client:
            while not self.enough.is_set():
                answer = client.post("/generate", json={"seeds": [1]}, headers={"Accept": "application/json"})
                if answer.status_code == 200:
                    assert answer.headers["x-figment-version"] == str(answer.json()["version"])
                    self.versions.append(answer.json()["version"])
                else:
                    self.failed.append(answer.text)


def test_versions_take_over_and_go_while_clients_ask(serve, folder, generators):
    with serve(models=folder, reload_seconds=0.1, deadline_seconds=1, max_batch=4, intra_op_threads=1) as server:
        server.wait(lambda answer: answer.status_code == 200)
        asking = Asking(server.url)
        server.until(lambda: 1 in asking.versions)

        generators.ship(folder, "mlp", 2, generators.mlp(width=48))
        server.until(lambda: asking.versions[-1] == 2)
        assert server.metric("figment_model_info", model="mlp") == 2

        graph = generators.ship(folder, "mlp", 3, generators.mlp()) / "generator.onnx"
        graph.write_bytes(graph.read_bytes()[:-1])
        server.until(lambda: httpx.get(server.url + "/readyz").json()["refused"])
        assert "mlp/3" in httpx.get(server.url + "/readyz").json()["refused"][0]["reason"]
        assert asking.versions[-1] == 2

        shutil.rmtree(folder / "mlp" / "2")
        server.until(lambda: asking.versions[-1] == 1)
        server.until(lambda: server.metric("figment_model_info", model="mlp") == 1)
        server.until(lambda: "Unloaded mlp/2" in server.log)

        folder.rename(folder.with_name("aside"))
        assert server.answer_with(503, "/readyz").json()["status"] == "emptied"
        assert "still served" in server.answer_with(503, "/v2/health/ready").json()["error"]
        asked = len(asking.versions)
        server.until(lambda: len(asking.versions) > asked)
        folder.with_name("aside").rename(folder)
        server.answer_with(200, "/readyz")
        server.answer_with(200, "/v2/health/ready")
        asking.enough.set()
        asking.join(10)
        assert asking.failed == []
