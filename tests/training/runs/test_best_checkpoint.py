"""The generator that the judge liked best is kept beside the last, found after a kill, and is what is exported."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from tests.training.tiny_runs import FAMILIES, TINY
from training.config.files import load_config
from training.data.dataset import load_images
from training.errors import TrainingError
from training.export import export
from training.loop.fit import fit
from training.loop.state import Best, TrainingState
from training.parallel.distributed import Processes
from training.runs.best_checkpoint import load_best_generator
from training.runs.checkpoints import checkpoints, load_checkpoint, read_newest, write_tensors
from training.runs.folder import RunFolder
from training.runs.reporter import Reporter

CPU = torch.device("cpu")


class Scripted:
    """A judge with its mind made up, and a memory of whom it saw."""

    name = "fxd-scripted-00000000"
    samples = 2000
    noise_baseline: ClassVar = {"fxd": 100.0, "coverage": 0.0}

    def __init__(self, *distances: float) -> None:
        self._distances = list(distances)
        self.seen: list[dict[str, torch.Tensor]] = []

    def score(self, generator: nn.Module) -> dict[str, float]:
        self.seen.append({name: value.clone() for name, value in generator.state_dict().items()})
        return {"fxd": self._distances.pop(0), "coverage": 0.5}


def begin(folder: Path, digits: Path, judge_every: int = 32) -> tuple[RunFolder, TrainingState]:
    settings = [*TINY, *FAMILIES["mlp"], "ema.half_lives=[20,200]", f"judge.every={judge_every}"]
    config = load_config("digits", [setting for setting in settings if setting != "judge=null"])
    data = load_images(str(digits), config.data)
    return RunFolder.create(folder, config, str(digits), data), TrainingState(config, 10, CPU)


def train(run: RunFolder, state: TrainingState, judge: Scripted) -> None:
    data = load_images(run.data.source, run.config.data)
    fit(run.config, data, state, Processes(0, 1, CPU), Reporter(run, data, state, lambda: judge))


def test_the_best_of_all_times_and_half_lives_is_kept_and_exported(tmp_path: Path, digits: Path) -> None:
    run, state = begin(tmp_path / "run", digits)
    judge = Scripted(9, 8, 3, 7, 6, 5, 4, 4)
    train(run, state, judge)
    assert state.best == Best(score=3, images_seen=64, half_life=20)
    trained = load_best_generator(run)
    assert (trained.images_seen, trained.half_life) == (64, 20)
    for name, value in trained.network.state_dict().items():
        assert torch.equal(value, judge.seen[2][name]), name
    newest = load_best_generator(run, last=True)
    assert (newest.images_seen, newest.half_life) == (128, 20)
    for name, value in newest.network.state_dict().items():
        assert torch.equal(value, judge.seen[6][name]), name
    lines = [json.loads(line) for line in run.scores.read_text().splitlines()]
    assert [(line["images_seen"], line["half_life"]) for line in lines] == [
        (seen, half_life) for seen in (32, 64, 96, 128) for half_life in (20, 200)
    ]
    assert {line["judge"] for line in lines} == {judge.name}
    card = json.loads((export(run, tmp_path / "zoo") / "card.json").read_text())
    assert card["training"]["images_seen"] == 64


def test_a_killed_run_reaches_the_same_best(tmp_path: Path, digits: Path) -> None:
    run, state = begin(tmp_path / "whole", digits)
    train(run, state, Scripted(9, 8, 3, 7, 6, 5, 2, 4))
    shutil.copytree(run.path, tmp_path / "killed")
    killed = RunFolder.open(tmp_path / "killed")
    checkpoints(killed.checkpoints)[-1].unlink()  # killed after the checkpoint at 64, having scored beyond it
    state = TrainingState(killed.config, killed.labels, CPU)
    load_checkpoint(state, read_newest(killed.checkpoints))
    assert state.best == Best(score=3, images_seen=64, half_life=20)
    train(killed, state, Scripted(6, 5, 2, 4))
    assert state.best == Best(score=2, images_seen=128, half_life=20)
    assert killed.scores.read_text() == run.scores.read_text(), "no score twice, none lost"
    one, other = (torch.load(each.best, weights_only=True)["generator"] for each in (run, killed))
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("scored", [0, 1])
def test_a_run_that_dies_in_its_last_score_is_scored_whole_when_it_resumes(
    scored: int, tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the budget is a moment of a checkpoint, and no moment of a score but for the last one."""
    whole, state = begin(tmp_path / "whole", digits, judge_every=96)
    train(whole, state, Scripted(9, 8, 3, 2))
    run, state = begin(tmp_path / "killed", digits, judge_every=96)
    if not scored:  # a full disk at best.pt, when the line in scores.jsonl is there
        monkeypatch.setattr("training.runs.reporter.write_tensors", _not_at_the_end(write_tensors))
    with pytest.raises((IndexError, TrainingError)):
        train(run, state, Scripted(9, 8, 3))
    monkeypatch.undo()
    assert len(run.scores.read_text().splitlines()) == 3
    state = TrainingState(run.config, run.labels, CPU)
    load_checkpoint(state, read_newest(run.checkpoints))
    train(run, state, Scripted(9, 8, 3, 2) if state.images_seen < 96 else Scripted(3, 2))
    assert run.scores.read_text() == whole.scores.read_text(), "no score twice, none lost"
    assert load_best_generator(run).images_seen == 128
    one, other = (torch.load(each.best, weights_only=True)["generator"] for each in (run, whole))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def _not_at_the_end(write: Callable[..., None]) -> Callable[..., None]:
    """Returns a function that writes best.pt, and ends with a full disk at the last score."""

    def run(path: Path, content: dict[str, object]) -> None:
        if content["images_seen"] == 128:
            raise TrainingError("cannot write best.pt")
        write(path, content)

    return run


def test_without_a_judge_the_newest_is_taken(finished_run: Path) -> None:
    run = RunFolder.open(finished_run)
    assert not run.best.exists()
    assert load_best_generator(run).images_seen == 512


@pytest.mark.parametrize("missing", ["config.yaml", "data.json"])
def test_a_folder_that_is_no_run_is_reported(finished_run: Path, tmp_path: Path, missing: str) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    (tmp_path / "run" / missing).unlink()
    with pytest.raises(TrainingError, match=f"has no {missing}"):
        RunFolder.open(tmp_path / "run")


def test_a_best_that_was_scored_on_another_number_of_images_is_scored_again(tmp_path: Path, digits: Path) -> None:
    """An earlier version compared more generated images than there were real ones. Such a score is not beaten."""
    run, state = begin(tmp_path / "run", digits)
    train(run, state, Scripted(*range(1, 9)))
    content = torch.load(run.best, weights_only=True)
    assert content.pop("samples") == 2000
    torch.save(content, run.best)
    now = Scripted(40, 50, 51, 52, 53)
    now.samples = 256
    data = load_images(run.data.source, run.config.data)
    reporter = Reporter(run, data, state, lambda: now)
    before = state.images_seen
    reporter.step(before, before + 32)
    assert state.best == Best(score=40, images_seen=content["images_seen"], half_life=content["half_life"])
    again = torch.load(run.best, weights_only=True)
    assert (again["fxd"], again["samples"]) == (40, 256)
    for name, value in content["generator"].items():
        assert torch.equal(again["generator"][name], value)
    reporter.step(before + 32, before + 64)
    assert len(now.seen) == 5, "the best is scored once again, before two EMAs are scored twice"
