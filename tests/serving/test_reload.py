"""New bundles without a restart: what comes is verified and takes over, what is broken changes nothing, what goes is
drained.
"""

import os
import shutil
import threading

import httpx
import pytest

from models.bundle import BundleError
from serving.reload import Watch


@pytest.fixture
def folder(tmp_path, generators):
    """A folder with ``mlp/1``."""
    generators.ship(tmp_path, "mlp", 1, generators.mlp())
    return tmp_path


def come(watch):
    return [f"{bundle.parent.name}/{bundle.name}" for bundle in watch.look().come]


def test_nothing_happens_where_nothing_changes(folder):
    watch = Watch(folder)
    for _ in range(3):
        changes = watch.look()
        assert not changes.come
        assert not changes.gone


def test_a_bundle_comes_once_it_keeps_still(folder, generators):
    watch = Watch(folder)
    graph = generators.ship(folder, "mlp", 2, generators.mlp(width=48)) / "generator.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:100])
    assert come(watch) == []
    graph.write_bytes(whole)
    assert come(watch) == []
    assert come(watch) == ["mlp/2"]
    assert come(watch) == []


def test_a_bundle_that_is_changed_in_place_comes_again(folder):
    watch = Watch(folder)
    os.utime(folder / "mlp" / "1" / "generator.onnx", ns=(1, 1))
    assert come(watch) == []
    assert come(watch) == ["mlp/1"]


def test_a_bundle_goes_and_may_come_back(folder, tmp_path_factory):
    watch, elsewhere = Watch(folder), tmp_path_factory.mktemp("elsewhere") / "1"
    shutil.move(folder / "mlp" / "1", elsewhere)
    assert watch.look().gone == ["mlp/1"]
    assert watch.look().gone == []
    shutil.move(elsewhere, folder / "mlp" / "1")
    assert come(watch) == []
    assert come(watch) == ["mlp/1"]


def test_a_folder_that_is_lost_is_no_wish_to_serve_nothing(folder, tmp_path_factory):
    watch, elsewhere = Watch(folder), tmp_path_factory.mktemp("elsewhere") / "zoo"
    shutil.move(folder, elsewhere)
    with pytest.raises(BundleError):
        watch.look()
    shutil.move(elsewhere, folder)
    changes = watch.look()
    assert not changes.come
    assert not changes.gone


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
        assert server.metric("figment_model_info", model="mlp") == 1
        server.until(lambda: "Unloaded mlp/2" in server.log)
        asking.enough.set()
        asking.join(10)
        assert asking.failed == []


def test_the_first_bundle_may_come_later(serve, tmp_path, generators):
    with serve(models=tmp_path, reload_seconds=0.1, max_batch=4, intra_op_threads=1) as server:
        server.wait(lambda answer: answer.json()["status"] == "unusable")
        generators.ship(tmp_path, "mlp", 1, generators.mlp())
        server.wait(lambda answer: answer.status_code == 200)
        assert httpx.post(server.url + "/generate", json={"seeds": [1]}).status_code == 200
