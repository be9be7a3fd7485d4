"""A real Prometheus scrapes a real service under load: every panel and every rule has data there."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.deploy.conftest import ROOT, read_panels, read_rules
from tests.deploy.prometheus import run_prometheus
from tests.deploy.promql import selectors

# Together more images than the queue takes, from several clients: some are rejected.
QUEUE_IMAGES = 96
REQUESTS = [
    ("POST", "/generate", {"model": "conv", "count": 64}),
    ("POST", "/generate", {"model": "mlp", "count": 48, "format": "webp"}),
    ("POST", "/generate", {"model": "sprite", "count": 1}),
    ("POST", "/interpolate", {"model": "mlp", "from": {"seed": 1}, "to": {"seed": 2}, "steps": 8}),
    ("GET", "/images/conv/7.png", None),
    (
        "POST",
        "/v2/models/mlp/infer",
        {"inputs": [{"name": "seed", "datatype": "UINT32", "shape": [2], "data": [1, 2]}]},
    ),
]
CLIENTS = 8


@contextmanager
def load(url: str) -> Iterator[None]:
    """Sends all kinds of requests for images, in a fixed order, from several clients, until the service stops."""
    stop = threading.Event()

    def send(first: int) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            number = first
            while not stop.is_set():
                method, path, body = REQUESTS[number % len(REQUESTS)]
                try:
                    client.request(method, path, json=body)
                except httpx.TransportError:  # the last test stops the service
                    return
                number += 1
                stop.wait(0.05)

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(send, index) for index in range(CLIENTS)]
        try:
            yield
        finally:
            stop.set()
    for client in clients:
        client.result()


@pytest.fixture(scope="module")
def watched(serve, zoo, tmp_path_factory):
    """A service under load, with a broken bundle and a queue that overflows, and the Prometheus that scrapes it."""
    settings = {"max_batch": 16, "queue_images": QUEUE_IMAGES, "reload_seconds": 1, "intra_op_threads": 1}
    with serve(models=zoo, **settings) as server:
        server.wait(lambda answer: answer.status_code == 200)
        with run_prometheus(tmp_path_factory.mktemp("prometheus"), server.port) as prometheus, load(server.url):
            assert prometheus.wait_for('figment_requests_total{code="429"}', 60), "the load is too small for the queue"
            yield server, prometheus


def test_every_panel_has_data(watched):
    _, prometheus = watched
    table, empty = [], []
    for panel in read_panels():
        for target in panel["targets"]:
            samples = prometheus.wait_for(target["expr"], 30)
            shown = ", ".join(f"{float(sample['value'][1]):.4g}" for sample in samples[:4]) or "no data"
            table.append(f"{panel['title']:32} {target['legendFormat']:32} {len(samples):3} series: {shown}")
            if not samples:
                empty.append(table[-1])
    print("", *table, sep="\n")
    assert not empty
    assert len(table) > 30


def test_every_rule_is_evaluated_on_data(watched):
    _, prometheus = watched
    rules = read_rules()
    for rule in rules:
        if "record" in rule:
            assert prometheus.wait_for(rule["record"], 30), rule
        else:  # an alert that does not fire has no data itself
            for name, matchers in selectors(rule["expr"]):
                assert prometheus.wait_for(name + matchers, 30), rule
    groups = prometheus.get("rules")["groups"]
    evaluated = [rule for group in groups for rule in group["rules"]]
    assert len(evaluated) == len(rules)
    assert {(rule["health"], rule.get("lastError")) for rule in evaluated} == {("ok", None)}


def test_the_right_values_arrive(watched):
    server, prometheus = watched
    assert prometheus.query("sum(figment_alive) + sum(figment_ready)")[0]["value"][1] == "2"
    assert prometheus.query("figment_rejected_bundles")[0]["value"][1] == "1", "broken/1"
    assert len(prometheus.query("figment_model_info")) == 4, "all others"
    assert 0 < float(prometheus.query("job_model:figment_queue_wait_seconds:p99_5m")[0]["value"][1]) < 10
    resident = int(Path(f"/proc/{worker_of(server.process.pid)}/statm").read_text().split()[1]) * os.sysconf(
        "SC_PAGESIZE"
    )
    assert float(prometheus.query("process_resident_memory_bytes")[0]["value"][1]) == pytest.approx(resident, rel=0.2)
    full = prometheus.wait_for('job:figment_budget_burn:rate5m{objective="availability"} > 1', 30)
    assert full, "requests that meet a full queue spend the error budget"


def worker_of(parent: int) -> int:
    """Returns the child of ``bentoml serve`` that has loaded ONNX Runtime."""
    (worker,) = (
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/maps")
        if f"\nPPid:\t{parent}\n" in (path.parent / "status").read_text() and "onnxruntime" in path.read_text()
    )
    return worker


@pytest.mark.timeout(900)
def test_picture_of_the_documents(watched):
    """With WRITE_DOCS=1, draws docs/dashboard.png: five minutes, once the windows of five minutes are full."""
    if "WRITE_DOCS" not in os.environ:
        assert (ROOT / "docs" / "dashboard.png").exists()
        return
    from tests.deploy.picture import draw_dashboard

    _, prometheus = watched
    time.sleep(2 * 300)
    end = time.time()
    draw_dashboard(prometheus, end - 300, end, ROOT / "docs" / "dashboard.png")


def test_a_broken_bundle_and_a_stopped_service_become_alerts(watched):
    """The last test: it stops the service."""
    server, prometheus = watched
    alerts = 'ALERTS{alertname="%s", alertstate="pending"}'
    assert prometheus.wait_for(alerts % "FigmentBundleRejected", 20)
    assert not prometheus.query(alerts % "FigmentDown")
    server.process.terminate()
    assert prometheus.wait_for(alerts % "FigmentDown", 30)
