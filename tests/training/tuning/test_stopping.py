"""Ctrl-C, SIGTERM and kill -9 of ``tune --workers``: each worker gets one stop request, and none survives."""

import json
import multiprocessing
import os
import pty
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.training.tuning.conftest import trials_of
from training.cli import main
from training.errors import TrainingError
from training.runs.checkpoints import checkpoints
from training.tuning.trial.run import Stopped
from training.tuning.workers import ONE_REQUEST_SECONDS, PARENT_VARIABLE, run_workers, stop_with_parent

CONTEXT = multiprocessing.get_context("fork")
STOPPED, DONE, FAILED = 130, 0, 1

NOTES_SIGNALS = """
import os, pathlib, signal, sys, time
notes = pathlib.Path(f"{os.getpid()}.notes").open("a", buffering=1)
ends = {"politely": 1, "reluctantly": 2, "never": 99}[sys.argv[1]]
def note(number, frame):
    global ends
    notes.write(f"{number}\\n")
    ends -= 1
    if not ends:
        sys.exit(130)
signal.signal(signal.SIGTERM, note)
signal.signal(signal.SIGINT, note)
notes.write("ready\\n")
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    time.sleep(0.01)
"""
"""Replaces the trainer: starts at once, and records every signal."""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where ``python -m training`` runs the replacement."""
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").touch()
    (tmp_path / "training" / "__main__.py").write_text(NOTES_SIGNALS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def parents() -> Iterator[list[int]]:
    """Processes that are killed after the test."""
    found: list[int] = []
    yield found
    for number in found:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue


def parent_with_workers(folder: Path, manner: str, parents: list[int]) -> multiprocessing.process.BaseProcess:
    """Starts the leader of a process group with two workers that are ready for signals."""

    def run() -> None:
        os.setpgid(0, 0)
        try:
            run_workers(2, [manner])
        except Stopped:
            os._exit(STOPPED)
        except TrainingError:
            os._exit(FAILED)
        os._exit(DONE)

    parent = CONTEXT.Process(target=run)
    parent.start()
    assert parent.pid is not None
    parents.append(parent.pid)
    wait_for(lambda: len(notes(folder)) == 2 and all("ready" in lines for lines in notes(folder).values()))
    parents.extend(notes(folder))
    return parent


def notes(folder: Path) -> dict[int, list[str]]:
    """The signals of each worker, by its process number."""
    return {int(path.stem): path.read_text().split() for path in folder.glob("*.notes")}


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_reaches_each_worker_once(
    sent: signal.Signals, stand_in: Path, parents: list[int]
) -> None:
    """As a terminal sends Ctrl-C."""
    parent = parent_with_workers(stand_in, "reluctantly", parents)
    os.killpg(parent.pid, sent)  # type: ignore[arg-type]
    wait_for(lambda: all(len(lines) == 2 for lines in notes(stand_in).values()))
    os.killpg(parent.pid, sent)  # type: ignore[arg-type]  # repeated at once, as by timeout(1): still one request
    time.sleep(ONE_REQUEST_SECONDS)
    assert all(lines == ["ready", str(int(signal.SIGTERM))] for lines in notes(stand_in).values())
    assert parent.is_alive()


def test_workers_that_stop_orderly_stop_the_command(stand_in: Path, parents: list[int]) -> None:
    parent = parent_with_workers(stand_in, "politely", parents)
    os.kill(parent.pid, signal.SIGINT)  # type: ignore[arg-type]
    parent.join(20)
    assert parent.exitcode == STOPPED


def test_a_second_ctrl_c_ends_at_once_and_a_third_kills(stand_in: Path, parents: list[int]) -> None:
    parent = parent_with_workers(stand_in, "never", parents)
    for number in (1, 2):
        os.killpg(parent.pid, signal.SIGINT)  # type: ignore[arg-type]
        wait_for(lambda number=number: all(len(lines) == 1 + number for lines in notes(stand_in).values()))  # type: ignore[misc]
        assert parent.is_alive()
        time.sleep(ONE_REQUEST_SECONDS)
    os.killpg(parent.pid, signal.SIGINT)  # type: ignore[arg-type]
    parent.join(20)
    assert parent.exitcode == STOPPED
    assert not any(alive(number) for number in notes(stand_in))


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGHUP])
def test_a_worker_gets_a_stop_request_when_its_parent_dies(
    sent: signal.Signals, tmp_path: Path, parents: list[int]
) -> None:
    def child() -> None:
        def note(number: int, frame: object) -> None:
            (tmp_path / "stopped").write_text(str(number))
            os._exit(0)

        signal.signal(signal.SIGTERM, note)
        assert stop_with_parent()
        assert PARENT_VARIABLE not in os.environ, "processes started by the worker are not workers"
        (tmp_path / "ready").write_text(str(os.getpid()))
        time.sleep(60)
        os._exit(1)

    def parent() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores
        os.environ[PARENT_VARIABLE] = str(os.getpid())
        CONTEXT.Process(target=child).start()
        time.sleep(60)

    process = CONTEXT.Process(target=parent)
    process.start()
    assert process.pid is not None
    parents.append(process.pid)
    wait_for(lambda: (tmp_path / "ready").exists() and (tmp_path / "ready").read_text())
    parents.append(int((tmp_path / "ready").read_text()))
    time.sleep(0.3)
    assert not (tmp_path / "stopped").exists(), "while the parent lives, nothing happens"
    os.kill(process.pid, sent)
    wait_for((tmp_path / "stopped").exists, 10)
    process.join()


def test_a_process_without_a_parent_variable_watches_no_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PARENT_VARIABLE, raising=False)
    assert not stop_with_parent()


def test_ctrl_c_in_a_terminal_stops_every_worker_orderly(
    tune_arguments: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs the whole command on its own terminal."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "study"
    arguments = tune_arguments(out, "--trials=2", "--seeds=0", "--images=64000", "--workers=2")
    process, terminal = pty.fork()
    if process == 0:
        sys.argv = ["training", *arguments]
        try:
            main()
        except SystemExit as end:
            os._exit(int(end.code or 0))
        finally:
            os._exit(99)
    runs = [out / "trials" / "0000", out / "trials" / "0001"]
    text = b""
    try:
        wait_for(lambda: all(checkpoints(run / "checkpoints") for run in runs))
        workers = [int(trial.user_attrs["worker"].rpartition(":")[2]) for trial in trials_of(out)]
        os.write(terminal, b"\x03")
        while chunk := _read(terminal):
            text += chunk
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == STOPPED, text.decode()
        wait_for(lambda: not any(alive(worker) for worker in workers), 20)
    finally:
        if alive(process):
            os.kill(process, signal.SIGKILL)
        os.close(terminal)
    for run in runs:
        lines = (run / "metrics.jsonl").read_text().splitlines()
        last = json.loads(lines[-1])["images_seen"]
        assert last == int(checkpoints(run / "checkpoints")[-1].stem), f"no checkpoint of the last step of {run.name}"
    assert b"Traceback" not in text
    assert b"no worker finished" not in text


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux reports a closed terminal this way
        return b""
