"""Runs commands of ``python -m training`` in forks of a process that has imported everything: seconds saved each.

A fork is as fresh as a new process but for what is imported. ``python -m training`` itself is run in ``kills.py``.
"""

import contextlib
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.soak.training_faults.phases import (
    Aim,
    PhaseRecorder,
    Segment,
    new_record,
    read_phase,
    read_segments,
)

ROOT = Path(__file__).resolve().parents[3]

_TRAINING = (
    "torch._dynamo",  # the first optimiser imports it
    "torch.utils.tensorboard",
    "training.data.decoding",
    "training.data.sources.tables",
    "training.publishing.push",
    "training.runs.plots",
    "training.train",
)
_EXPORT = (
    "onnxscript.rewriter",
    "torch.onnx._internal.exporter._core",
    "training.export",
    "training.packing.pack",
)
_STUCK_SECONDS = 120


@dataclass(frozen=True)
class DiskFault:
    """The change of the file system below ``root`` that fails, from 1; 0 only counts them.

    ``error`` is an errno; 0 kills the process instead. With ``lasting``, all later changes fail as well.
    """

    root: str
    at: int = 0
    error: int = 0
    lasting: bool = False


@dataclass(frozen=True)
class Ended:
    """A process that has ended. ``code`` is negative after a signal."""

    code: int
    output: str
    phase: str
    segments: list[Segment]
    struck: str
    """The change that failed, such as ``write /run/metrics.jsonl``; empty if none did."""
    changes: int
    """Changes of the file system; 0 if they were not counted, or the process was killed."""

    @property
    def was_killed(self) -> bool:
        """Whether a SIGKILL has ended it."""
        return self.code == -signal.SIGKILL

    @property
    def last_line(self) -> str:
        """The last line of its output."""
        return (self.output.strip().splitlines() or [""])[-1]


def child_environment(cache: Path) -> dict[str, str]:
    """Returns the environment of a training process with its own cache."""
    own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "XDG_CACHE_HOME": str(cache)}
    return {**os.environ, **own}


class Child:
    """A command that runs in a fork."""

    def __init__(self, folder: Path, pid: int) -> None:
        self._folder, self.pid = folder, pid

    def kill(self) -> None:
        """Sends SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return (self._folder / "code").exists()

    def wait(self) -> Ended:
        """Waits for its end. Raises ``RuntimeError`` if it hangs."""
        deadline = time.monotonic() + _STUCK_SECONDS
        while not self.has_ended:
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"a command hangs:\n{self.output}")
            time.sleep(0.002)
        segments, changes = self._folder / "segments", self._folder / "changes"
        return Ended(
            code=int((self._folder / "code").read_text()),
            output=self.output,
            phase=read_phase(self._folder / "phase"),
            segments=read_segments(segments) if segments.exists() else [],
            struck=(self._folder / "struck").read_bytes().rstrip(b"\0").decode(),
            changes=int(changes.read_text()) if changes.exists() else 0,
        )

    @property
    def output(self) -> str:
        """What it has printed so far, on both streams."""
        path = self._folder / "output"
        return path.read_text(errors="replace") if path.exists() else ""


class Preloaded:
    """The process that forks."""

    def __init__(self, folder: Path, shim: Path | None = None, exports: bool = True) -> None:
        """``folder`` is for what is known of each child; ``shim`` is the library that makes changes fail.

        Without ``exports`` it starts faster, and each export imports what it needs by itself.
        """
        self._folder, self._count = folder, 0
        folder.mkdir(parents=True)
        environment = child_environment(folder)
        if shim:
            environment["LD_PRELOAD"] = environment["SHIM"] = str(shim)
        environment["MPLCONFIGDIR"] = str(folder / "matplotlib")
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import main; main({exports})"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Preloaded":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def start(
        self, arguments: Sequence[str | Path], cache: Path, aim: Aim | None = None, fault: DiskFault | None = None
    ) -> Child:
        """Starts ``python -m training ARGUMENTS`` with its cache in a folder."""
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        new_record(folder / "phase")
        (folder / "struck").write_bytes(bytes(4096))
        request = {
            "arguments": [str(argument) for argument in arguments],
            "cache": str(cache),
            "folder": str(folder),
            "aim": asdict(aim) if aim else None,
            "fault": asdict(fault) if fault else None,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Child(folder, int(self._process.stdout.readline()))

    def run(
        self, arguments: Sequence[str | Path], cache: Path, aim: Aim | None = None, fault: DiskFault | None = None
    ) -> Ended:
        """Runs a command to its end."""
        return self.start(arguments, cache, aim, fault).wait()


def main(exports: bool) -> None:
    """Serves requests from standard input until it ends."""
    for module in (*_TRAINING, *(_EXPORT if exports else ())):
        importlib.import_module(module)
    from matplotlib import pyplot

    pyplot.subplots(layout="constrained")[0].savefig(io.BytesIO(), format="png")  # finds the fonts, once for all
    pyplot.close("all")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the forks are nobody's business once they are made
    for line in sys.stdin:
        request = json.loads(line)
        receiving, sending = os.pipe()
        if os.fork() == 0:
            _supervise(request, sending)
        os.close(sending)
        with os.fdopen(receiving) as pipe:
            print(pipe.read(), flush=True)


def _supervise(request: dict[str, Any], sending: int) -> None:
    """Forks the command, reports its process id, and writes down its exit code. Returns only in the command."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(sending)
        _run(request)
    os.write(sending, str(pid).encode())
    os.close(sending)
    _, status = os.waitpid(pid, 0)
    folder = Path(request["folder"])
    (folder / "code.tmp").write_text(str(os.waitstatus_to_exitcode(status)))
    (folder / "code.tmp").rename(folder / "code")
    os._exit(0)


def _run(request: dict[str, Any]) -> None:
    """Runs the command in this process, which ends with it."""
    from training.cli import main as command

    folder = Path(request["folder"])
    output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ["XDG_CACHE_HOME"] = request["cache"]
    sys.argv = ["training", *request["arguments"]]
    recorder = PhaseRecorder(folder / "phase", Aim(**request["aim"]) if request["aim"] else None)
    recorder.install()
    with _disk_fault(request["fault"], folder):
        try:
            command()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
            code = 70  # as no command ends
    recorder.write_segments(folder / "segments")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a regular exit waits for threads of libraries, which a fork does not have


@contextlib.contextmanager
def _disk_fault(fault: dict[str, Any] | None, folder: Path) -> Iterator[None]:
    if not fault:
        yield
        return
    import ctypes

    shim = ctypes.CDLL(os.environ["SHIM"])
    if shim.faults_arm(
        fault["root"].encode(), os.fsencode(folder / "struck"), fault["at"], fault["error"], fault["lasting"]
    ):
        raise OSError("the record of the shim cannot be mapped")
    yield
    (folder / "changes").write_text(str(shim.faults_count()))
