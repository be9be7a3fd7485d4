"""A service under test: ``bentoml serve`` with limits, whose parent and worker can be killed, and whose log is read."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.serving.servers import ROOT, free_port

_END_SECONDS = 20


class Service:
    """A started service. It may be loading, ready, or at its end."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    @property
    def log(self) -> str:
        """Returns what parent and workers have written."""
        return self._log.read_text(errors="replace")

    def get(self, path: str) -> tuple[int, bytes]:
        """Returns status and body; the status is 0 if there was no answer within two seconds."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:
            return 0, b""

    def readiness(self) -> dict[str, Any]:
        """Returns the body of ``/readyz``; empty if there was no answer."""
        status, body = self.get("/readyz")
        document: dict[str, Any] = json.loads(body) if status else {}
        return document

    def wait_ready(self, seconds: float = 60) -> None:
        """Waits until the service is ready. Raises ``RuntimeError`` with its log if it does not get there."""
        if not self.wait_for(lambda: self.get("/readyz")[0] == 200, seconds):
            raise RuntimeError(f"the service did not become ready:\n{self.log}")

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Waits until a condition holds; returns whether it did. A service that ends is waited for no longer."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end or self.process.poll() is not None:
                return condition()
            time.sleep(0.02)
        return True

    def metric(self, name: str, **labels: str) -> float:
        """Returns the sum of a metric's samples that have these labels."""
        text = self.get("/metrics")[1].decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def workers(self) -> list[psutil.Process]:
        """Returns the processes that answer requests."""
        children: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if _is_worker(child)]

    def resident_bytes(self) -> int:
        """Returns the resident memory of all workers."""
        return sum(worker.memory_info().rss for worker in self.workers())

    def port_is_free(self) -> bool:
        """Returns whether another service could bind the port now."""
        import socket

        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError:
                return False
            return True

    def terminate(self) -> float:
        """Sends SIGTERM to the parent and waits for its end. Returns the seconds; raises ``TimeoutExpired``."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(_END_SECONDS)
        return time.monotonic() - began


@contextmanager
def serving(
    zoo: Path,
    home: Path,
    *,
    limits: Mapping[int, int] | None = None,
    variables: Mapping[str, str] | None = None,
    log: Path | None = None,
    wrap: tuple[str, ...] = (),
    **settings: object,
) -> Iterator[Service]:
    """Starts a service, and at the end stops it with all its children.

    ``limits`` are resource limits by their ``RLIMIT_`` number, ``variables`` more of its environment, ``settings`` have
    no prefix ``FIGMENT_``, and ``wrap`` is a command that starts another. Does not wait until the service is ready.
    """
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FIGMENT_")}
    environment |= {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", "FIGMENT_MODELS": str(zoo)}
    environment |= {"FIGMENT_LINGER_SECONDS": "0", "PYTHONDONTWRITEBYTECODE": "1"} | dict(variables or {})
    environment |= {f"FIGMENT_{name.upper()}": str(value) for name, value in settings.items()}

    def limit() -> None:
        for number, value in (limits or {}).items():
            resource.setrlimit(number, (value, value))

    if log is None:
        home.mkdir(parents=True, exist_ok=True)
        log = home / "log"
    command = [*wrap, sys.executable, "-m", "bentoml", "serve", ".", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output, preexec_fn=limit)
    try:
        yield Service(process, port, log)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Sends SIGTERM to the parent, and kills what is left of it and its children after some seconds."""
    if process.poll() is None:
        children = psutil.Process(process.pid).children(recursive=True)  # each has a session of its own
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        for survivor in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                survivor.kill()
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "serving.worker" in process.cmdline()
    except psutil.NoSuchProcess:  # or a zombie, which has no command any more
        return False
