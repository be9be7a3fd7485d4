"""Two processes train what one would: the batch is the total, and only the first writes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.runs import FAMILIES, GAMES, TINY, arguments, newest_weights


def launch(processes: int, *command: str | Path) -> subprocess.CompletedProcess[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [sys.executable, *torchrun, "-m", "training", *map(str, command)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.parametrize(("family", "game"), [("r3gan", "relativistic"), ("mlp", "lazy")])
def test_two_processes_take_the_steps_of_one(tmp_path: Path, digits: Path, family: str, game: str) -> None:
    settings = arguments(*TINY, *FAMILIES[family], *GAMES[game], "precision=float32", "pace.tick=16")
    curves = []
    for processes in (1, 2):
        run = tmp_path / str(processes)
        done = launch(processes, "fit", "digits", "--data", digits, "--out", run, *settings)
        assert done.returncode == 0, done.stderr
        assert len(re.findall("trained on 128 images", done.stdout)) == 1, "one process speaks"
        curves.append([json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()])
    assert len(curves[0]) == len(curves[1]) == 8
    for one, two in zip(*curves, strict=True):
        for name in one.keys() - {"images_per_second", "data_wait_share", "judge_share", "time"}:
            assert two[name] == pytest.approx(one[name], rel=2e-3, abs=2e-4), (name, one["images_seen"])
    one, two = newest_weights(tmp_path / "1"), newest_weights(tmp_path / "2")
    assert one.keys() == two.keys()


def test_two_processes_go_on_from_what_one_has_left(tmp_path: Path, digits: Path) -> None:
    settings = arguments(*TINY, *FAMILIES["dcgan"], "images=64")
    run = tmp_path / "run"
    assert launch(1, "fit", "digits", "--data", digits, "--out", run, *settings).returncode == 0
    done = launch(2, "resume", run, "--images", "128")
    assert done.returncode == 0, done.stderr
    assert "trained on 128 images" in done.stdout


def test_what_is_refused_is_refused_once_and_by_all(tmp_path: Path, digits: Path) -> None:
    done = launch(2, "fit", "digits", "--data", digits, "--out", tmp_path / "run", "--set=batch_size=33")
    assert done.returncode != 0
    assert "batch_size is 33, which 2 processes cannot share evenly; the nearest that they can is 32" in done.stderr
    assert not (tmp_path / "run").exists()
