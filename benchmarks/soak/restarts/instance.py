"""One instance of the service that is stopped and started again on the same port."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.serving.servers import ROOT, figment_command, free_port, is_ready

_START_SECONDS = 60
_DRAIN_SECONDS = 30


@dataclass(frozen=True)
class Restart:
    """How one restart went."""

    exit_code: int
    seconds: float
    """From SIGTERM until the new process was ready."""
    before: int
    """Requests that the old process answered before SIGTERM."""
    lingering: int
    """Requests that it answered after SIGTERM, and before it drained."""
    dropped: int
    """Whether it dropped requests at the end of its drain: 0 or 1."""


class Instance:
    """A ``bentoml serve`` with a port of its own. Each of its processes has its own log."""

    def __init__(self, zoo: Path, home: Path, linger_seconds: float) -> None:
        self.port = free_port()
        self._home = home
        self._command, self._environment = figment_command(
            zoo, home, self.port, linger_seconds=linger_seconds, drain_seconds=_DRAIN_SECONDS, log_format="json"
        )
        self._most_seconds = linger_seconds + _DRAIN_SECONDS + 10
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _log(self) -> Path:
        return self._home / f"log-{self._starts}"

    def start(self) -> None:
        """Starts a process, and does not wait for it."""
        self._starts += 1
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=output, stderr=output
            )

    def await_ready(self) -> None:
        """Waits until the process is ready. Raises ``RuntimeError`` if it ends or takes too long."""
        assert self._process is not None
        until = time.monotonic() + _START_SECONDS
        while not is_ready(self.port):
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"an instance did not start:\n{self._log.read_text()}")
            time.sleep(0.02)

    def restart(self) -> Restart:
        """Sends SIGTERM, waits for the end, starts a new process and waits until it is ready."""
        assert self._process is not None
        began = time.monotonic()
        self._process.terminate()
        exit_code = self._process.wait(self._most_seconds)
        before, lingering, dropped = _count(self._log)
        self.start()
        self.await_ready()
        return Restart(exit_code, time.monotonic() - began, before, lingering, dropped)

    def kill(self) -> None:
        """Ends the process if it runs, without waiting for its requests."""
        if self._process is not None and self._process.poll() is None:
            processes = [*psutil.Process(self._process.pid).children(recursive=True), self._process]
            for process in processes:
                process.kill()
            self._process.wait()


def _count(log: Path) -> tuple[int, int, int]:
    """Returns the requests that a log has before and after the begin of the linger, and whether some were dropped."""
    requests = {False: 0, True: 0}
    is_lingering, dropped = False, 0
    for text in log.read_text().splitlines():
        if not text.startswith("{"):
            continue
        line = json.loads(text)
        is_lingering |= line["message"].startswith("Lingering for")
        dropped |= line["message"].startswith("Dropped")
        requests[is_lingering] += line.get("status") == 200 and line.get("route") not in ("/readyz", None)
    return requests[False], requests[True], dropped
