"""Sends the mixture with wrk, and reads what wrk and its script counted."""

import json
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.servers import Server
from benchmarks.soak.long_serving.mixture import Request

_CONNECTIONS = 16
_TIMEOUT_SECONDS = 60
_LONGEST_SECONDS = 7200


@dataclass(frozen=True)
class Reading:
    """What happened to some requests."""

    seconds: float
    p50_ms: float
    p99_ms: float
    right: int
    """Answers with the expected status, and the expected bytes if they are determined."""
    wrong_status: int
    wrong_body: int
    unknown: int
    """Answers without the id of a request."""
    broken: int
    """Requests that ended without an answer."""
    reason: str
    """The first fault, in words."""

    @property
    def answers(self) -> int:
        """Returns the number of answers."""
        return self.right + self.wrong_status + self.wrong_body + self.unknown


class Replay:
    """The mixture, with the answers of a service at its start as the expected ones."""

    def __init__(self, requests: Sequence[Request], server: Server, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._count = len(requests)
        self._number = 100_000_000
        folder.mkdir()
        for index, request in enumerate(requests):
            body = request.answer(server.port)
            (folder / f"{index}.request").write_bytes(request.raw(index))
            (folder / f"{index}.status").write_text(str(request.status))
            if request.determined:
                (folder / f"{index}.body").write_bytes(body)

    def send(self, requests: int) -> Reading:
        """Sends at least this number of requests."""
        program = shutil.which("wrk")
        if program is None:
            raise SystemExit("The long run of the service needs wrk (apt-get install wrk).")
        script = Path(__file__).with_name("replay.lua")
        command = [program, "-t1", f"-c{_CONNECTIONS}", f"-d{_LONGEST_SECONDS}s", f"--timeout={_TIMEOUT_SECONDS}s"]
        command += ["-s", str(script), self._server.url, "--"]
        command += [str(self._folder), str(self._count), str(requests), str(self._number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line == "enough\n":
                    process.send_signal(signal.SIGINT)  # wrk reports and ends
                    break
            last = process.stdout.read().strip().splitlines()[-1:]
        if process.returncode or not last:
            raise RuntimeError(f"wrk ended with exit code {process.returncode}")
        reading = Reading(**json.loads(last[0]))
        self._number += reading.answers + _CONNECTIONS
        return reading
