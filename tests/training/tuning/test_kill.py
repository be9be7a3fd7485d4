"""A trial whose worker is killed or stopped ends with the scores of an uninterrupted one."""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from training.cli import main
from training.runs.checkpoints import checkpoints
from training.tuning.study.queue import identity_of
from training.tuning.study.storage import Journal

CONTEXT = multiprocessing.get_context("fork")


def scores(folder: Path) -> list[float]:
    return [json.loads(line)["fxd"] for line in (folder / "trials" / "0000" / "scores.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 130)])
def test_an_interrupted_trial_resumes_from_its_checkpoint(
    sent: signal.Signals,
    code: int,
    tune: Callable[..., None],
    tune_arguments: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    options = ["--trials", "1", "--seeds", "0", "--images", "3200"]

    def work() -> None:
        sys.argv = ["training", *tune_arguments(tmp_path / "cut", *options)]
        main()

    process = CONTEXT.Process(target=work)
    process.start()
    assert process.pid is not None
    deadline = time.monotonic() + 60
    while len(checkpoints(tmp_path / "cut" / "trials" / "0000" / "checkpoints")) < 2:
        assert time.monotonic() < deadline
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, sent)
    process.join()
    assert process.exitcode == code
    # As if it had been scored once more before it died, on a machine with other rounding.
    with (tmp_path / "cut" / "trials" / "0000" / "scores.jsonl").open("a") as file:
        file.write(json.dumps({"images_seen": 3200, "half_life": 1, "fxd": 0.0, "coverage": 1.0}) + "\n")

    tune(tmp_path / "cut", *options)
    tune(tmp_path / "whole", *options)
    assert scores(tmp_path / "cut") == scores(tmp_path / "whole"), "bit for bit, without duplicates"
    trials = optuna.load_study(study_name="cut", storage=Journal(tmp_path / "cut").backend).trials
    assert [trial.state for trial in trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert [identity_of(trial) for trial in trials] == [0, 0]
    curve = trials[1].intermediate_values
    assert min(curve.values()) > 0, "scores after the checkpoint are removed"
    assert list(curve) == [480, 960, 1440, 1920, 2400, 2880, 3200], "the whole learning curve"
