"""A Prometheus with the rules of ``deploy/``, as a test's neighbour."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.deploy.conftest import DEPLOY, RULES

# What Grafana puts in for its variables.
VARIABLES = {"$namespace": ".*", "$job": "figment", "$__rate_interval": "15s"}


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30)

    def get(self, path: str, **parameters: str) -> Any:
        """Returns the member ``data`` of an answer; ``None`` while Prometheus is not ready."""
        try:
            return self._client.get(f"/api/v1/{path}", params=parameters).raise_for_status().json()["data"]
        except httpx.HTTPError:
            return None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Returns the samples of a query of the dashboard or of a rule now, without those that are no number."""
        answer = self.get("query", query=without_variables(expression))
        return [sample for sample in (answer or {"result": []})["result"] if sample["value"][1] != "NaN"]

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Returns the time series of a query of the dashboard."""
        window = {"start": str(start), "end": str(end), "step": str(step)}
        result: list[dict[str, Any]] = self.get("query_range", query=without_variables(expression), **window)["result"]
        return result

    def wait_for(self, expression: str, seconds: float) -> list[dict[str, Any]]:
        """Returns the samples of a query once there are any; none after ``seconds``."""
        end = time.monotonic() + seconds
        while not (samples := self.query(expression)) and time.monotonic() < end:
            time.sleep(0.3)
        return samples


def without_variables(expression: str) -> str:
    """Returns an expression with values in place of Grafana's variables."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


@contextmanager
def run_prometheus(folder: Path, port: int) -> Iterator[Prometheus]:
    """Runs Prometheus with the configuration of ``deploy/``, which scrapes and evaluates every second.

    The target is ``port`` on this machine. The test is skipped if there is no Prometheus, unless nothing may be.
    """
    program = shutil.which("prometheus")
    if not program and "NOTHING_SKIPPED" not in os.environ:
        pytest.skip("prometheus is not installed")
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (scrape,) = config["scrape_configs"]
    scrape["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    shutil.copy(RULES, folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [program or "", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(20)
