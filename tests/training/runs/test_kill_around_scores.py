"""A kill between the last score and the checkpoint after it loses neither the score nor the best generator."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import training.runs.reporter
from tests.training.tiny_runs import FAMILIES, TINY, arguments, assert_same_weights
from training.runs.json_lines import LOG_FILES, append_line

SETTINGS = arguments(
    *[setting for setting in TINY if setting != "judge=null"],
    *FAMILIES["mlp"],
    "images=64",
    "pace.checkpoint=32",
    "judge.every=64",
    "judge.samples=500",
    "ema.half_lives=[100,2000]",
    "precision=float32",
)

Train = Callable[..., None]


class Killed(BaseException):
    """What ends a process at once: nothing may catch it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, train: Train, digits: Path) -> Path:
    """A run that nothing disturbed. Its last step is one of a checkpoint, and is scored after that, at the end."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train("fit", "digits", "--data", digits, "--out", run, *SETTINGS, "--set=judge.every=1000")
    return run


@pytest.mark.parametrize("lines", [0, 1, 2])
def test_scores_after_the_last_checkpoint_are_computed_again(
    tmp_path: Path, train: Train, digits: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    """``lines`` scores are on disk when the kill comes, and the checkpoint of that step knows of none."""
    run, written = tmp_path / "run", []

    def append(path: Path, line: dict[str, Any]) -> None:
        if path.name == "scores.jsonl":
            if len(written) == lines:
                raise Killed
            written.append(line)
        elif len(written) == 2:
            raise Killed  # before the doctor notes the score
        append_line(path, line)

    with monkeypatch.context() as patch:
        patch.setattr(training.runs.reporter, "append_line", append)
        patch.setattr("training.runs.run_doctor.append_line", append)
        with pytest.raises(Killed):
            train("fit", "digits", "--data", digits, "--out", run, *SETTINGS, "--set=judge.every=1000")
    assert (run / "checkpoints" / f"{64:012d}.pt").exists()
    train("resume", run)
    assert_same_weights(whole, run)
    for name in ("scores.jsonl", "doctor.jsonl"):
        assert (run / name).read_text() == (whole / name).read_text(), name
    expected, found = (torch.load(folder / "best.pt", weights_only=True) for folder in (whole, run))
    assert all(torch.equal(value, found["generator"][key]) for key, value in expected["generator"].items())
    assert found["images_seen"] == expected["images_seen"]


def test_a_checkpoint_of_an_earlier_version_knows_no_lines(tmp_path: Path, train: Train, whole: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    for path in (run / "checkpoints").iterdir():
        content = torch.load(path, weights_only=True)
        assert set(content["logged"]) == set(LOG_FILES)
        del content["logged"]
        torch.save(content, path)
    train("resume", run, "--images", "96")
    seen = [json.loads(line)["images_seen"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert seen == [32, 64, 96]
