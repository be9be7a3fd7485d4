"""Two processes take the steps of one: batch_size is the total, and only the first process writes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.training.tiny_runs import FAMILIES, OBJECTIVES, TINY, arguments, newest_weights
from training.config.files import load_config
from training.runs.folder import begin_run


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
    tmp_path: Path, digits: Path, family: str, objective: str, more: list[str]
) -> None:
    settings = arguments(*TINY, *FAMILIES[family], *OBJECTIVES[objective], "precision=float32", "pace.tick=16", *more)
    curves = []
    for processes in (1, 2):
        run = tmp_path / str(processes)
        done = launch(processes, "fit", "digits", "--data", digits, "--out", run, *settings)
        assert done.returncode == 0, done.stderr
        assert len(re.findall("trained on 128 images", done.stdout)) == 1, "one process prints"
        curves.append([json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()])
    assert len(curves[0]) == len(curves[1]) == 8
    for one, two in zip(*curves, strict=True):
        for name in one.keys() - {"images_per_second", "data_wait_share", "judge_share", "time"}:
            assert two[name] == pytest.approx(one[name], rel=2e-3, abs=2e-4), (name, one["images_seen"])
    one, two = newest_weights(tmp_path / "1"), newest_weights(tmp_path / "2")
    assert one.keys() == two.keys()


def test_two_processes_resume_the_run_of_one(tmp_path: Path, digits: Path) -> None:
    settings = arguments(*TINY, *FAMILIES["dcgan"], "images=64")
    run = tmp_path / "run"
    assert launch(1, "fit", "digits", "--data", digits, "--out", run, *settings).returncode == 0
    done = launch(2, "resume", run, "--images", "128")
    assert done.returncode == 0, done.stderr
    assert "trained on 128 images" in done.stdout


def test_two_processes_start_from_another_run(tmp_path: Path, digits: Path) -> None:
    settings = arguments(*TINY, *FAMILIES["mlp"], "precision=float32", "images=64")
    source, run = tmp_path / "source", tmp_path / "run"
    assert launch(1, "fit", "digits", "--data", digits, "--out", source, *settings).returncode == 0
    frozen = ["--init-from", source, "--set=freeze_discriminator=1"]
    done = launch(2, "fit", "digits", "--data", digits, "--out", run, *settings, *frozen)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("after 64 images; every layer fits") == 1
    before, after = newest_weights(source), newest_weights(run)
    assert torch.equal(after[".discriminator.hidden.0.weight"], before[".discriminator.hidden.0.weight"])
    assert not torch.equal(after[".discriminator.hidden.2.weight"], before[".discriminator.hidden.2.weight"])


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
        r"digits: .*\n.* has no checkpoint yet: it begins again\nerror: .*reals\.png.*: Is a directory; .*\n", stderr
    )


def test_ctrl_c_stops_all_processes_with_a_checkpoint(tmp_path: Path, digits: Path) -> None:
    """The terminal sends it to the launcher and to the processes, and the launcher sends it to them again."""
    run = tmp_path / "run"
    settings = arguments(*TINY, *FAMILIES["mlp"], "images=10000000", "pace.tick=16", "pace.checkpoint=10000000")
    process = start("fit", "digits", "--data", digits, "--out", run, *settings)
    deadline = time.monotonic() + 120
    while not ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size):
        assert time.monotonic() < deadline, process.communicate()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert re.fullmatch(r".*/run: stopped after \d+ images\. Next: python -m training resume .*/run\n", stdout)
    assert "Traceback" not in stderr
    assert len(list((run / "checkpoints").glob("*.pt"))) == 1
