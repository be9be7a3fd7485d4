"""A real Prometheus scrapes the service and answers an operator's questions."""

import os
import shutil
import socket
import subprocess
import time

import httpx
import pytest

CONFIG = """
scrape_configs:
  - job_name: figment
    scrape_interval: 1s
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@pytest.fixture
def prometheus(service, tmp_path):
    program = shutil.which("prometheus")
    if not program and "NOTHING_SKIPPED" not in os.environ:
        pytest.skip("prometheus is not installed")
    config = tmp_path / "prometheus.yml"
    config.write_text(CONFIG.format(port=service.port))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/data"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)


def query(prometheus, expression):
    """Returns the value of a query, once it is not 0."""
    end = time.monotonic() + 40
    while time.monotonic() < end:
        try:
            answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": expression}).raise_for_status().json()
            values = [float(result["value"][1]) for result in answer["data"]["result"]]
            if values and sum(values):
                return sum(values)
        except httpx.HTTPError:
            pass  # Prometheus does not listen yet, or responds 503 while it reads its storage
        time.sleep(0.3)
    raise AssertionError(f"{expression} has no value")


def test_prometheus_scrapes_and_computes(prometheus, client):
    assert query(prometheus, "figment_ready") == 1
    assert query(prometheus, "count(figment_model_info)") == 3
    end = time.monotonic() + 3
    while time.monotonic() < end:  # a rate needs a change between two scrapes
        client.post("/generate", json={"model": "mlp", "count": 8})
        time.sleep(0.1)
    assert query(prometheus, 'sum(rate(figment_images_total{model="mlp"}[1m]))') > 0
    wait = "histogram_quantile(0.99, sum by (le) (rate(figment_queue_wait_seconds_bucket[1m])))"
    assert 0 < query(prometheus, wait) < 10
