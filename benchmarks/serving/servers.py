"""Starts and stops the servers under test, and measures their CPU time and memory."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import psutil

from serving.config.cores import usable_cores

ROOT = Path(__file__).resolve().parents[2]


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = psutil.Process(process.pid)
        self.port = port

    @property
    def url(self) -> str:
        """Returns the address of the server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def cpu_seconds(self) -> float:
        """Returns the CPU time of the process and its children so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self.processes)

    @property
    def resident_bytes(self) -> int:
        """Returns the resident memory of the process and its children."""
        return sum(process.memory_info().rss for process in self.processes)

    @property
    def open_files(self) -> int:
        """Returns the number of files and connections that the process and its children have open."""
        return sum(process.num_fds() for process in self.processes)

    @property
    def processes(self) -> list[psutil.Process]:
        """Returns the process and its children."""
        return [self._process, *self._process.children(recursive=True)]


@contextmanager
def running(
    command: list[str],
    environment: dict[str, str],
    port: int,
    log: Path,
    is_ready: Callable[[], bool],
    cwd: Path = ROOT,
    seconds: float = 60,
) -> Iterator[Server]:
    """Starts a server, waits until it is ready, and at the end stops it with all its children."""
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=output)
    try:
        while not is_ready():
            if process.poll() is not None or time.monotonic() - started > seconds:
                raise RuntimeError(f"{' '.join(command)} did not start:\n{log.read_text()}")
            time.sleep(0.02)
        yield Server(process, port)
    finally:
        _stop(psutil.Process(process.pid))


def _stop(process: psutil.Process) -> None:
    """Sends SIGTERM to a server, and kills the processes that are left after 20 s."""
    processes = [process, *process.children(recursive=True)]
    process.terminate()
    _, left = psutil.wait_procs(processes, 20)
    for survivor in left:
        with suppress(psutil.NoSuchProcess):
            survivor.kill()


def figment(zoo: Path, home: Path, **settings: object) -> AbstractContextManager[Server]:
    """Runs ``bentoml serve`` with the bundles of ``zoo``. ``settings`` have no prefix ``FIGMENT_``."""
    port = free_port()
    command, environment = figment_command(zoo, home, port, **settings)
    return running(command, environment, port, home / "log", lambda: is_ready(port))


def figment_command(zoo: Path, home: Path, port: int, **settings: object) -> tuple[list[str], dict[str, str]]:
    """Returns the command and the environment of ``bentoml serve``, and creates its folder ``home``."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FIGMENT_")}
    environment |= {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", "FIGMENT_MODELS": str(zoo)}
    environment["FIGMENT_LINGER_SECONDS"] = "0"
    environment |= {f"FIGMENT_{name.upper()}": str(value) for name, value in settings.items()}
    home.mkdir(parents=True, exist_ok=True)
    return [sys.executable, "-m", "bentoml", "serve", ".", "--host", "127.0.0.1", "--port", str(port)], environment


def is_ready(port: int) -> bool:
    """Returns whether the service on this port is ready."""
    return _answers(f"http://127.0.0.1:{port}/readyz")


def limit(generator: Path, home: Path) -> AbstractContextManager[Server]:
    """Runs the bare micro-batcher with one generator."""
    port = free_port()
    environment = os.environ | {"GENERATOR": str(generator), "THREADS": str(usable_cores())}
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "uvicorn", "--factory", "benchmarks.serving.limit:MicroBatcher"]
    options = ["--log-level", "error", "--lifespan", "off", "--port", str(port)]
    return running(
        command + options, environment, port, home / "limit.log", lambda: _answers(f"http://127.0.0.1:{port}/")
    )


def free_port() -> int:
    """Returns a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    # The limit answers a GET with status 500, which shows that it is ready.
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError as error:
        return error.code == 500
    except OSError:
        return False
    return True
