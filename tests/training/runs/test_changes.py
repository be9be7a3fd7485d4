"""What a resume may change, finds moved, or refuses, and what it writes down about it."""

import errno
import fcntl
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.training.tiny_runs import FAMILIES, TINY, arguments, assert_same_weights, newest_weights
from training.config.files import load_config
from training.errors import DivergenceError, TrainingError
from training.locks import FileLock
from training.loop.state import TrainingState
from training.loop.step import TrainStep
from training.runs.best_checkpoint import load_best_generator
from training.runs.checkpoints import checkpoints
from training.runs.folder import LOCK_FILE, RunFolder

SETTINGS = arguments(*TINY, *FAMILIES["mlp"], "images=64", "pace.checkpoint=32")
SLOWER = "--set=generator_optimizer.learning_rate=0.0001"

Train = Callable[..., None]


@pytest.fixture(scope="module")
def at_64(tmp_path_factory: pytest.TempPathFactory, train: Train, digits: Path) -> Path:
    """A run of 64 images, with checkpoints at 32 and 64."""
    run = tmp_path_factory.mktemp("at_64") / "run"
    train("fit", "digits", "--data", digits, "--out", run, *SETTINGS)
    return run


@pytest.fixture
def run(at_64: Path, tmp_path: Path) -> Path:
    """The same, to do anything with."""
    return Path(shutil.copytree(at_64, tmp_path / "run"))


def text_of(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir() if path.suffix in {".yaml", ".json", ".jsonl"}}


def changes_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "changes.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--images", "63"], "a budget of 63 images is below the 64 that .* has seen already"),
        (["--set=batch_size=32"], "--set batch_size: a run that has begun keeps it; what may change is about, burn_in"),
        (["--set=network.width=8"], "--set network.width: a run that has begun keeps it"),
        (["--set=ema.half_lives=[5]"], "--set ema.half_lives: a run that has begun keeps it"),
        (["--set=generator_optimizer.lerning_rate=1"], "there is no setting generator_optimizer.lerning_rate; did you"),
        (["--set=generator_optimizer.learning_rate=-1"], "generator_optimizer.learning_rate: input should be greater"),
        (["--set=pace"], "--set takes key=value, not 'pace'"),
        (["--set=regularization.label_smoothing=0.1", "--set=pace.tick=0"], "pace.tick: input should be greater"),
        (["--data", "nothing.parquet"], "nothing.parquet is no folder or file here"),
    ],
)
def test_rejection_comes_before_any_write(run: Path, train: Train, options: list[str], sentence: str) -> None:
    before = text_of(run)
    with pytest.raises(TrainingError, match=sentence):
        train("resume", run, *options)
    assert text_of(run) == before
    assert not (run / "config.yaml.tmp").exists()


def test_a_budget_that_no_command_could_read_is_rejected(run: Path, train: Train) -> None:
    """Even where nothing has been seen yet."""
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.jsonl").unlink()
    before = text_of(run)
    with pytest.raises(TrainingError, match="a budget of 10 images is spent before the generator's first step"):
        train("resume", run, "--images", "10")
    assert text_of(run) == before


def test_a_changed_setting_applies_from_there_on_and_is_recorded(
    run: Path, tmp_path: Path, train: Train, digits: Path
) -> None:
    train("resume", run, SLOWER, "--images", "128")
    assert RunFolder.open(run).config.generator_optimizer.learning_rate == 0.0001
    (line,) = changes_of(run)
    assert line["images_seen"] == 64
    assert line["settings"] == {
        "generator_optimizer.learning_rate": {"from": 0.0002, "to": 0.0001},
        "images": {"from": 64, "to": 128},
    }
    assert load_best_generator(RunFolder.open(run)).images_seen == 128

    # Killed after the change and before the next checkpoint, it comes to the same end: the change is not lost.
    killed = Path(shutil.copytree(run, tmp_path / "killed"))
    for path in checkpoints(killed / "checkpoints"):
        path.unlink()
    train("fit", "digits", "--data", digits, "--out", tmp_path / "again", *SETTINGS)
    shutil.copy(checkpoints(tmp_path / "again" / "checkpoints")[-1], killed / "checkpoints")
    train("resume", killed)
    assert_same_weights(run, killed)
    assert changes_of(killed) == changes_of(run)

    # And it is another end than without the change.
    train("resume", tmp_path / "again", "--images", "128")
    one, other = newest_weights(run), newest_weights(tmp_path / "again")
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_path_length_can_be_switched_on(tmp_path: Path, train: Train, digits: Path) -> None:
    """Its target begins at 0, as in a new run; from the next checkpoint on it is part of the state."""
    run = tmp_path / "run"
    train("fit", "digits", "--data", digits, "--out", run, *arguments(*TINY, *FAMILIES["stylegan2"], "images=64"))
    train("resume", run, "--set=regularization.path_length=2", "--images", "128")
    assert newest_weights(run)[".path_length.target"] > 0
    train("resume", run, "--images", "192")


def test_a_change_that_a_kill_kept_out_of_the_configuration_is_dropped(run: Path, train: Train) -> None:
    line = {"images_seen": 64, "settings": {"generator_optimizer.learning_rate": {"from": 0.0002, "to": 0.0001}}}
    (run / "changes.jsonl").write_text(json.dumps(line) + "\n")
    assert load_best_generator(RunFolder.open(run)).images_seen == 64
    train("resume", run, "--images", "96")
    assert [line["settings"].keys() for line in changes_of(run)] == [{"images"}]


def test_a_setting_edited_without_a_word_is_still_refused(run: Path, train: Train) -> None:
    values = yaml.safe_load((run / "config.yaml").read_text())
    values["generator_optimizer"]["learning_rate"] = 0.0001
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(TrainingError, match=r"generator_optimizer was .* resume --set changes .*generator_optimizer"):
        train("resume", run)


def test_adams_betas_follow_the_configuration_not_the_checkpoint(run: Path) -> None:
    content = torch.load(checkpoints(run / "checkpoints")[-1], weights_only=True)
    config = load_config(str(run / "config.yaml"), ["generator_optimizer.beta1=0.25"])
    state = TrainingState(config, 10, torch.device("cpu"))
    state.load_state_dict(content)
    assert state.generator_optimizer.param_groups[0]["betas"][0] == 0.25


def test_the_best_generator_from_beyond_the_checkpoint_is_kept_against_worse_ones(run: Path, train: Train) -> None:
    state = TrainingState(RunFolder.open(run).config, 10, torch.device("cpu"))
    line = {"images_seen": 80, "half_life": 20000, "judge": "fxd-x-0", "fxd": 1.5, "coverage": 0.5}
    torch.save({"generator": state.ema.state_dict(), **line}, run / "best.pt")
    train("resume", run, SLOWER, "--images", "96")
    content = torch.load(checkpoints(run / "checkpoints")[-1], weights_only=True)
    assert content["best"] == {"score": 1.5, "images_seen": 80, "half_life": 20000}


@pytest.fixture
def _spoilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings diverge after 80 images unless the generator learns more slowly than the preset's."""
    original = TrainStep._generator_loss

    def loss(self: TrainStep, batch: Any) -> Any:
        fast = self._config.generator_optimizer.learning_rate > 0.00015
        return original(self, batch) * (float("nan") if fast and self._state.images_seen >= 80 else 1)

    monkeypatch.setattr(TrainStep, "_generator_loss", loss)


@pytest.mark.usefixtures("_spoilt")
@pytest.mark.parametrize("saved", [True, False])
def test_the_remedy_for_a_divergence_is_a_command_that_works(
    tmp_path: Path, train: Train, digits: Path, saved: bool
) -> None:
    run = tmp_path / "run"
    settings = [*SETTINGS, "--images=128", *([] if saved else ["--set=pace.checkpoint=128"])]
    with pytest.raises(DivergenceError, match="generator_loss is nan after 96 images") as error:
        train("fit", "digits", "--data", digits, "--out", run, *settings)
    found = re.search(r"Go on from (.*) with lower learning rates: python -m training (resume .*)$", str(error.value))
    assert found
    assert found[1] == ("its checkpoint at 64 images" if saved else "its beginning")
    train(*shlex.split(found[2]))
    assert load_best_generator(RunFolder.open(run)).images_seen == 128
    assert changes_of(run)[0]["images_seen"] == (64 if saved else 0)


def test_weights_that_the_last_step_made_nan_are_never_saved(
    run: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses that the tick before a checkpoint looks at are from before the weights moved."""
    original = TrainStep.step

    def step(self: TrainStep, batch: Any) -> Any:
        measured = original(self, batch)
        if self._state.images_seen == 96:
            with torch.no_grad():
                next(self._state.generator.parameters()).view(-1)[0] = float("nan")
        return measured

    monkeypatch.setattr(TrainStep, "step", step)
    with pytest.raises(DivergenceError, match=r"the generator has NaN or infinite weights after 96 images.*resume"):
        train("resume", run, "--images", "128")
    assert [path.stem for path in checkpoints(run / "checkpoints")] == ["000000000032", "000000000064"]


def test_data_that_have_moved_are_found_again(run: Path, tmp_path: Path, train: Train, digits: Path) -> None:
    record = json.loads((run / "data.json").read_text())
    gone = {**record, "source": str(tmp_path / "gone.parquet")}
    (run / "data.json").write_text(json.dumps(gone))
    with pytest.raises(TrainingError, match=r"no longer in .*gone\.parquet; say where they are now: .* --data DATA"):
        train("resume", run)
    moved = tmp_path / "moved.parquet"
    shutil.copy(digits, moved)
    train("resume", run, "--data", moved)
    assert json.loads((run / "data.json").read_text()) == {**record, "source": str(moved)}
    train("resume", run)


def test_other_data_are_rejected_wherever_they_are(run: Path, tmp_path: Path, train: Train, digits: Path) -> None:
    import pyarrow.parquet as parquet

    before = text_of(run)
    parquet.write_table(parquet.read_table(digits).slice(1), tmp_path / "other.parquet")
    with pytest.raises(TrainingError, match=r"the images in .*other\.parquet are not those the run began with"):
        train("resume", run, "--data", tmp_path / "other.parquet")
    assert text_of(run) == before


@pytest.mark.parametrize("command", ["resume", "fit"])
def test_a_run_that_is_being_trained_is_left_alone(run: Path, train: Train, digits: Path, command: str) -> None:
    if command == "fit":
        shutil.rmtree(run / "checkpoints")
        (run / "metrics.jsonl").unlink()
    before = text_of(run)
    given = ["resume", run] if command == "resume" else ["fit", "digits", "--data", digits, "--out", run, *SETTINGS]
    with FileLock(run / LOCK_FILE), pytest.raises(TrainingError, match=f"another process is training in {run}; wait"):
        train(*given)
    assert text_of(run) == before
    train(*given)


def test_a_file_system_without_locks_says_so(run: Path, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(TrainingError, match=r"cannot lock .*run\.lock \(No locks available\): its file system has no"):
        train("resume", run)
