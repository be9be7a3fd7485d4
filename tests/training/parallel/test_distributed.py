"""Two processes take the steps of one: batch_size is the total, and only the first process writes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.training.tiny_runs import FAMILIES, OBJECTIVES, TINY, arguments, newest_weights
from training.config.files import load_config
from training.runs.folder import begin_run

Train = Callable[..., None]


def launch(processes: int, *command: str | Path) -> subprocess.CompletedProcess[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [sys.executable, *torchrun, "-m", "training", *map(str, command)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.parametrize(
    ("family", "objective", "more"),
    [("r3gan", "relativistic", ["data.balance=true"]), ("mlp", "lazy", ["micro_batch=4"])],
)
def test_two_processes_take_the_steps_of_one(
    tmp_path: Path, digits: Path, train: Train, family: str, objective: str, more: list[str]
) -> None:
    settings = arguments(*TINY, *FAMILIES[family], *OBJECTIVES[objective], "precision=float32", "pace.tick=16", *more)
    train("fit", "digits", "--data", digits, "--out", tmp_path / "1", *settings)
    done = launch(2, "fit", "digits", "--data", digits, "--out", tmp_path / "2", *settings)
    assert done.returncode == 0, done.stderr
    assert len(re.findall("trained on 128 images", done.stdout)) == 1, "one process prints"
    curves = [
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()] for run in ("1", "2")
    ]
    assert len(curves[0]) == len(curves[1]) == 8
    for one, two in zip(*curves, strict=True):
        for name in one.keys() - {"images_per_second", "data_wait_share", "judge_share", "time"}:
            assert two[name] == pytest.approx(one[name], rel=2e-3, abs=2e-4), (name, one["images_seen"])
    one, two = newest_weights(tmp_path / "1"), newest_weights(tmp_path / "2")
    assert one.keys() == two.keys()


def test_two_processes_resume_the_run_of_one(tmp_path: Path, digits: Path, train: Train) -> None:
    settings = arguments(*TINY, *FAMILIES["dcgan"], "images=64")
    run = tmp_path / "run"
    train("fit", "digits", "--data", digits, "--out", run, *settings)
    done = launch(2, "resume", run, "--images", "128")
    assert done.returncode == 0, done.stderr
    assert "trained on 128 images" in done.stdout


def test_two_processes_start_from_another_run(tmp_path: Path, digits: Path, train: Train) -> None:
    settings = arguments(*TINY, *FAMILIES["mlp"], "precision=float32", "images=64")
    source, run = tmp_path / "source", tmp_path / "run"
    train("fit", "digits", "--data", digits, "--out", source, *settings)
    frozen = ["--init-from", source, "--set=freeze_discriminator=1"]
    done = launch(2, "fit", "digits", "--data", digits, "--out", run, *settings, *frozen)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("after 64 images; every layer fits") == 1
    before, after = newest_weights(source), newest_weights(run)
    assert torch.equal(after[".discriminator.hidden.0.weight"], before[".discriminator.hidden.0.weight"])
    assert not torch.equal(after[".discriminator.hidden.2.weight"], before[".discriminator.hidden.2.weight"])


def test_the_first_process_chooses_the_preset_for_all(tmp_path: Path, digits: Path) -> None:
    settings = arguments(*TINY, *FAMILIES["mlp"], "precision=float32", "images=64")
    run = tmp_path / "run"
    done = launch(2, "fit", "--data", digits, "--out", run, *settings)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the same run by name: python -m training fit digits") == 1
    assert "trained on 64 images" in done.stdout


def start(*command: str | Path) -> subprocess.Popen[str]:
    """Starts two processes under the project's launcher, in their own process group, as a terminal does."""
    launcher = [sys.executable, "-m", "training.launch", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*launcher, *map(str, command)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_an_error_in_all_processes_is_one_line(tmp_path: Path, digits: Path) -> None:
    process = start("fit", "digits", "--data", digits, "--out", tmp_path / "run", "--set=batch_size=33")
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    expected = "error: batch_size is 33, which 2 processes cannot share evenly; the nearest that they can is 32\n"
    assert stderr == expected
    assert not (tmp_path / "run").exists()


def test_an_error_in_one_process_is_one_line(tmp_path: Path, digits: Path) -> None:
    """The other process waits for it, and exits."""
    run = tmp_path / "run"
    config = load_config("digits", [*TINY, *FAMILIES["mlp"], "precision=float32"])
    begin_run(run, config, str(digits))
    (run / "reals.png").mkdir()  # the first process alone draws, and cannot
    process = start("resume", run)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    assert re.fullmatch(
        r"(decoding .*\n){0,2}digits: .*\n.* has no checkpoint yet: it begins again\n"
        r"error: .*reals\.png.*: Is a directory; .*\n",
        stderr,
    )


def pid_of_rank(run: Path, rank: int) -> int:
    """Returns the id of one of the processes that train in a folder."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = ((entry / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:  # it has ended, or is not ours
            continue
        if str(run).encode() in command and f"RANK={rank}".encode() in environment:
            return int(entry.name)
    raise AssertionError(f"there is no process {rank}")


def wait_for_metrics(process: subprocess.Popen[str], run: Path) -> None:
    deadline = time.monotonic() + 120
    while not ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size):
        assert time.monotonic() < deadline, process.communicate()
        time.sleep(0.1)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the process in /proc")
def test_a_signal_to_one_process_stops_all_after_the_same_step(tmp_path: Path, digits: Path) -> None:
    """They agree after each step, not at a tick, and no process is left waiting for the others."""
    run = tmp_path / "run"
    settings = arguments(*TINY, *FAMILIES["mlp"], "precision=float32", "images=10000000", "pace.tick=16")
    process = start("fit", "digits", "--data", digits, "--out", run, *settings, "--set=pace.checkpoint=10000000")
    wait_for_metrics(process, run)
    os.kill(pid_of_rank(run, 1), signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    stopped = re.fullmatch(r".*/run: stopped after (\d+) images\. Next: python -m training resume .*/run\n", stdout)
    assert stopped, stdout
    assert [int(path.stem) for path in (run / "checkpoints").glob("*.pt")] == [int(stopped[1])]


def test_the_others_wait_longer_for_the_first_than_a_collective_may_take(
    tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process trains the judge for a while, and a collective times out after two seconds."""
    sitecustomize = tmp_path / "code" / "sitecustomize.py"
    sitecustomize.parent.mkdir()
    sitecustomize.write_text(SLOW_JUDGE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(sitecustomize.parent), str(Path.cwd())]))
    settings = [setting for setting in TINY if setting != "judge=null"]
    run = tmp_path / "run"
    more = arguments(*settings, *FAMILIES["mlp"], "precision=float32", "judge.every=64", "judge.samples=500")
    process = start("fit", "digits", "--data", digits, "--out", run, *more)
    stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    assert "trained on 128 images" in stdout
    assert [json.loads(line)["images_seen"] for line in (run / "scores.jsonl").read_text().splitlines()] == [64, 128]


SLOW_JUDGE = """
import datetime, importlib.abc, importlib.machinery, sys, time

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        changes = {"training.parallel.distributed": quick_timeouts, "training.evaluation.judge.train": slow_judge}
        if name not in changes:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (run(module), changes[name](module))
        return spec

def quick_timeouts(module):
    module.COLLECTIVE_TIMEOUT = datetime.timedelta(seconds=2)

def slow_judge(module):
    original = module.train_judge
    def train_judge(data):
        time.sleep(5)
        return original(data, epochs=1)
    module.train_judge = train_judge

sys.meta_path.insert(0, Slow())
"""


def test_ctrl_c_stops_all_processes_with_a_checkpoint(tmp_path: Path, digits: Path) -> None:
    """The terminal sends it to the launcher and to the processes, and the launcher sends it to them again."""
    run = tmp_path / "run"
    settings = arguments(*TINY, *FAMILIES["mlp"], "images=10000000", "pace.tick=16", "pace.checkpoint=10000000")
    process = start("fit", "digits", "--data", digits, "--out", run, *settings)
    wait_for_metrics(process, run)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert re.fullmatch(r".*/run: stopped after \d+ images\. Next: python -m training resume .*/run\n", stdout)
    assert "Traceback" not in stderr
    assert len(list((run / "checkpoints").glob("*.pt"))) == 1
