"""A run that is cut short before its first checkpoint begins again exactly; one that cannot start leaves nothing."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import training.runs.folder
import training.train
from tests.training.tiny_runs import FAMILIES, TINY, arguments, assert_same_weights
from training.config.files import load_config
from training.errors import TrainingError
from training.loop.precision import PrecisionChoice
from training.loop.step import TrainStep
from training.runs.checkpoints import checkpoints
from training.runs.folder import RunFolder, begin_run, open_start

SETTINGS = arguments(*TINY, *FAMILIES["mlp"], "images=64", "pace.checkpoint=64", "precision=float32")

Train = Callable[..., None]


class Killed(BaseException):
    """What ends a process at once: nothing may catch it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, train: Train, digits: Path) -> Path:
    """A run that nothing disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train("fit", "digits", "--data", digits, "--out", run, *SETTINGS)
    return run


def killed_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """The next run is killed after so many steps."""
    original, taken = TrainStep.step, [0]

    def step(self: TrainStep, batch: Any) -> Any:
        if taken[0] == steps:
            raise Killed
        taken[0] += 1
        return original(self, batch)

    monkeypatch.setattr(TrainStep, "step", step)


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_kill_while_the_folder_is_written_leaves_one_that_fit_accepts(
    tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    config, original, done = load_config("digits"), training.runs.folder.write_text, []

    def write(path: Path, text: str) -> None:
        if len(done) == writes:
            path.with_name(path.name + ".tmp").write_text(text[:7])
            raise Killed
        done.append(path)
        original(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(training.runs.folder, "write_text", write)
        with pytest.raises(Killed):
            begin_run(tmp_path / "run", config, str(digits))
    with pytest.raises(TrainingError, match=r"it has no config\.yaml"):
        open_start(tmp_path / "run")
    begin_run(tmp_path / "run", config, str(digits))
    assert open_start(tmp_path / "run").config == config


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("load_images", signal.SIGTERM),
        ("load_images", signal.SIGINT),
        ("check_data", signal.SIGTERM),
        ("Reporter", signal.SIGTERM),
    ],
)
def test_a_stop_before_the_training_says_how_to_go_on_and_goes_on_exactly(
    tmp_path: Path,
    train: Train,
    digits: Path,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    moment: str,
    number: signal.Signals,
) -> None:
    run, original = tmp_path / "run", getattr(training.train, moment)

    def interrupted(*given: Any) -> Any:
        os.kill(os.getpid(), number)
        return original(*given)

    with monkeypatch.context() as patch:
        patch.setattr(training.train, moment, interrupted)
        with pytest.raises(SystemExit) as ended:
            train("fit", "digits", "--data", digits, "--out", run, *SETTINGS)
    assert ended.value.code == 0
    assert f"{run}: stopped before it trained. Next: python -m training resume {run}\n" == capsys.readouterr().out
    if moment != "Reporter":
        with pytest.raises(TrainingError, match=f"has not begun to train; go on with: python -m training resume {run}"):
            RunFolder.open(run)
    train("resume", run)
    assert_same_weights(whole, run)


JUDGED = [setting for setting in SETTINGS if setting != "--set=judge=null"] + arguments(
    "judge.every=32", "judge.samples=500"
)


def scores(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("every", [32, 1000])
def test_a_stop_while_the_judge_trains_leaves_a_score_to_resume(
    tmp_path: Path,
    train: Train,
    digits: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    every: int,
) -> None:
    """The judge is trained at the first score: within the run, or at its end. The stop must not lose that score."""
    run, undisturbed, begin = tmp_path / "run", tmp_path / "undisturbed", [*JUDGED, f"--set=judge.every={every}"]
    with monkeypatch.context() as patch:
        patch.setattr(training.train, "find_judge", lambda data: None)
        patch.setattr(training.train, "judge_for", lambda data: os.kill(os.getpid(), signal.SIGTERM))
        train("fit", "digits", "--data", digits, "--out", run, *begin)
    seen = min(every, 64)
    assert f"{run}: stopped after {seen} images. Next: python -m training resume {run}\n" == capsys.readouterr().out
    assert not (run / "scores.jsonl").exists()
    train("resume", run)
    train("fit", "digits", "--data", digits, "--out", undisturbed, *begin)
    assert [line["images_seen"] for line in scores(run)] == list(range(seen, 65, seen))
    assert scores(run) == scores(undisturbed)
    assert_same_weights(run, undisturbed)


def test_an_error_of_the_judge_costs_no_steps(
    tmp_path: Path, train: Train, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def fails(data: Any) -> None:
        raise TrainingError("the disk is full")

    monkeypatch.setattr(training.train, "find_judge", lambda data: None)
    monkeypatch.setattr(training.train, "judge_for", fails)
    with pytest.raises(TrainingError, match="the disk is full"):
        train("fit", "digits", "--data", digits, "--out", run, *JUDGED)
    assert [int(path.stem) for path in checkpoints(run / "checkpoints")] == [32]
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["images_seen"] == 32, "the metrics of these steps are written"


def test_a_run_that_begins_again_keeps_the_precision_that_was_measured(
    tmp_path: Path, train: Train, digits: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second measurement may turn out otherwise."""
    run = tmp_path / "run"
    begin = ["fit", "digits", "--data", digits, "--out", run, *SETTINGS, "--set=precision=auto"]
    speeds: dict[Any, float] = {"float32": 100.0, "bfloat16": 120.0}
    monkeypatch.setattr(
        training.train, "choose_precision", lambda config, device: PrecisionChoice("bfloat16", speeds, 8)
    )
    with monkeypatch.context() as patch:
        killed_after(patch, 1)
        with pytest.raises(Killed):
            train(*begin)
    said = "precision: bfloat16 (float32 trains 100 images/s, bfloat16 120, in steps of 8 images)\n"
    assert said in capsys.readouterr().err
    monkeypatch.setattr(
        training.train, "choose_precision", lambda config, device: PrecisionChoice("float32", speeds, 8)
    )
    train(*begin)
    assert RunFolder.open(run).config.precision == "bfloat16"


@pytest.mark.parametrize("again", ["resume", "fit"])
def test_a_run_killed_before_its_first_checkpoint_begins_again(
    tmp_path: Path, train: Train, digits: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    run = tmp_path / "run"
    begin = ["fit", "digits", "--data", digits, "--out", run, *SETTINGS]
    with monkeypatch.context() as patch:
        killed_after(patch, 3)
        with pytest.raises(Killed):
            train(*begin)
    assert not checkpoints(run / "checkpoints")
    train(*(begin if again == "fit" else ["resume", run]))
    assert_same_weights(whole, run)
    assert [json.loads(line)["images_seen"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [32, 64]


def test_fit_takes_up_no_run_of_other_settings_or_data(
    tmp_path: Path, train: Train, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other = tmp_path / "run", tmp_path / "other.parquet"
    other.write_bytes(digits.read_bytes())
    with monkeypatch.context() as patch:
        killed_after(patch, 1)
        with pytest.raises(Killed):
            train("fit", "digits", "--data", digits, "--out", run, *SETTINGS)
    for data, changes in ((digits, ["--set=seed=1"]), (other, [])):
        with pytest.raises(
            TrainingError, match=r"another configuration, data or --init-from that has not reached a checkpoint"
        ):
            train("fit", "digits", "--data", data, "--out", run, *SETTINGS, *changes)
    assert RunFolder.open(run).config.seed == 0


@pytest.mark.parametrize("there", [False, True])
def test_a_start_that_fails_leaves_nothing_behind(
    tmp_path: Path, train: Train, digits: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    run = tmp_path / "runs" / "mine"
    if there:
        run.mkdir(parents=True)

    def fails(data: Any) -> None:
        raise TrainingError("too few images")

    monkeypatch.setattr(training.train, "find_judge", fails)
    settings = [setting for setting in SETTINGS if setting != "--set=judge=null"]
    with pytest.raises(TrainingError, match="too few images; or train without a judge"):
        train("fit", "digits", "--data", digits, "--out", run, *settings)
    with pytest.raises(TrainingError):
        train("fit", "digits", "--data", tmp_path / "nothing.parquet", "--out", run, *SETTINGS)
    assert list(tmp_path.rglob("*")) == ([tmp_path / "runs", run] if there else [])


def test_nothing_is_written_into_a_folder_of_other_things(tmp_path: Path, train: Train, digits: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(TrainingError, match="is there already, and is no run; choose another --out"):
        train("fit", "digits", "--data", digits, "--out", tmp_path, *SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_run_without_its_checkpoints_does_not_restart_by_itself(tmp_path: Path, train: Train, digits: Path) -> None:
    """Without its checkpoints a run that had some does not begin again by itself."""
    run = tmp_path / "run"
    begin = ["fit", "digits", "--data", digits, "--out", run, *SETTINGS, "--images=96", "--set=pace.checkpoint=32"]
    train(*begin)
    saved = checkpoints(run / "checkpoints")
    for path in saved:
        path.write_bytes(path.read_bytes()[:100])
    before = {path: path.read_bytes() for path in run.rglob("*.json*")}
    with pytest.raises(TrainingError, match=r"no checkpoint in .* can be read; put back copies of them, or begin anew"):
        train("resume", run)
    for path in saved:
        path.unlink()
    for command in (["resume", run], begin):
        with pytest.raises(TrainingError, match=r"has seen 96 images, but its checkpoints are gone"):
            train(*command)
    assert {path: path.read_bytes() for path in run.rglob("*.json*")} == before
