"""Study folders that were copied, renamed, moved, linked or mixed up lose no run."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import yaml
from optuna.trial import TrialState

from tests.training.tuning.conftest import IMAGES, SPACE, trials_of
from training.data.dataset import TrainingImages
from training.errors import TrainingError
from training.loop.fit import fit
from training.tuning.study.folder import STUDY_FILE, find_study_name
from training.tuning.study.queue import identity_of
from training.tuning.study.storage import Journal
from training.tuning.trial.run import Stopped

Tune = Callable[..., None]
NO_RERUNS = ("--seeds", "0")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, train: Tune, small_digits: TrainingImages, digits: Path) -> Path:
    """A finished study of two trials."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE, sort_keys=False))
    options = ["--out", folder / "first", f"--images={IMAGES}", "--trials=2", *NO_RERUNS]
    train("tune", folder / "space.yaml", "--data", digits, *options)
    return folder / "first"


@pytest.fixture
def copied(original: Path, tmp_path: Path) -> Path:
    """The study under another name."""
    return Path(shutil.copytree(original, tmp_path / "second"))


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_copied_study_continues_where_the_original_was(original: Path, copied: Path, tune: Tune) -> None:
    runs, journal = content(original / "trials"), (original / "journal.log").read_bytes()
    before = content(copied / "trials")
    tune(copied, "--trials", "3", *NO_RERUNS)
    after = content(copied / "trials")
    assert {name: after[name] for name in before} == before, "finished trials are as they were"
    assert [identity_of(trial) for trial in trials_of(copied, "first")] == [0, 1, 2]
    assert optuna.get_all_study_names(Journal(copied).backend) == ["first", "first-reruns", "first-finals"]
    assert content(original / "trials") == runs
    assert (original / "journal.log").read_bytes() == journal, "the original is independent of its copy"


def test_a_renamed_study_has_nothing_to_do(copied: Path, tune: Tune) -> None:
    renamed = copied.rename(copied.with_name("elsewhere"))
    journal, runs = (renamed / "journal.log").read_bytes(), content(renamed / "trials")
    tune(renamed, "--trials", "2", *NO_RERUNS)
    assert (renamed / "journal.log").read_bytes() == journal
    assert content(renamed / "trials") == runs


@pytest.mark.parametrize("way", ["relative", "link"])
def test_a_study_is_the_same_under_any_path(
    way: str, copied: Path, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = (copied / "journal.log").read_bytes()
    if way == "relative":
        monkeypatch.chdir(copied)
        out = Path()
    else:
        out = copied.with_name("link")
        out.symlink_to(copied)
    tune(out, "--trials", "2", *NO_RERUNS)
    assert (copied / "journal.log").read_bytes() == journal


def test_a_study_without_a_recorded_name_is_found(copied: Path, tune: Tune) -> None:
    (copied / STUDY_FILE).unlink()
    journal = (copied / "journal.log").read_bytes()
    tune(copied, "--trials", "2", *NO_RERUNS)
    assert (copied / "journal.log").read_bytes() == journal
    assert json.loads((copied / STUDY_FILE).read_text()) == {"name": "first"}


def test_a_journal_of_several_studies_is_rejected_until_one_is_chosen(copied: Path, tune: Tune) -> None:
    optuna.create_study(storage=Journal(copied).backend, study_name="second")
    (copied / STUDY_FILE).unlink()
    runs = content(copied / "trials")
    with pytest.raises(TrainingError, match=r"holds 2 studies: first, second; .*study\.json"):
        tune(copied, "--trials", "3", *NO_RERUNS)
    assert content(copied / "trials") == runs
    (copied / STUDY_FILE).write_text('{"name": "first"}')
    tune(copied, "--trials", "2", *NO_RERUNS)
    assert content(copied / "trials") == runs


@pytest.mark.parametrize("text", ["{", "[]", '{"name": 3}', "\xff", '{"name": ""}'])
def test_an_invalid_name_file_is_reported_in_one_sentence(text: str, copied: Path, tune: Tune) -> None:
    (copied / STUDY_FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(TrainingError, match=r"study\.json must hold \{\"name\": ") as caught:
        tune(copied, "--trials", "2", *NO_RERUNS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "folder"),
        (["a"], "a"),
        (["a", "a-reruns", "a-finals"], "a"),
        (["a-reruns"], "a-reruns"),  # a user's own name
        (["a-reruns", "a-reruns-finals", "a-reruns-reruns"], "a-reruns"),
    ],
)
def test_the_only_search_of_a_journal_is_found_under_any_name(names: list[str], expected: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    journal = Journal(folder)
    for name in names:
        optuna.create_study(storage=journal.backend, study_name=name)
    assert find_study_name(folder, journal) == expected


@pytest.mark.parametrize("damage", ["removed", "emptied", "cut"])
def test_runs_that_the_journal_does_not_know_are_never_overwritten(damage: str, copied: Path, tune: Tune) -> None:
    journal = copied / "journal.log"
    if damage == "removed":
        journal.unlink()
    elif damage == "emptied":
        journal.write_bytes(b"")
    else:  # to before its second trial began, in the middle of a line
        lines = journal.read_bytes().splitlines(keepends=True)
        begins = [number for number, line in enumerate(lines) if json.loads(line)["op_code"] == 4]
        journal.write_bytes(b"".join(lines[: begins[1]]) + lines[begins[1]][:10])
    runs = content(copied / "trials")
    sentence = r"trials/0001 is a run that the study 'first' in .*journal\.log does not know"
    with pytest.raises(TrainingError, match=sentence if damage == "cut" else r"trials/0000 and 1 more are runs that"):
        tune(copied, "--trials", "3", *NO_RERUNS)
    assert content(copied / "trials") == runs


def test_a_journal_cut_within_a_result_does_not_lose_the_finished_run(copied: Path, tune: Tune) -> None:
    """As in a copy made while the trial ended: its checkpoints are gone, but the journal says it runs."""
    journal = copied / "journal.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    reports = [number for number, line in enumerate(lines) if json.loads(line)["op_code"] == 6]
    last = lines[reports[-1]]
    assert json.loads(last)["state"] in (TrialState.COMPLETE, TrialState.PRUNED)
    journal.write_bytes(b"".join(lines[: reports[-1]]) + last[:-5])
    runs = content(copied / "trials")
    with pytest.raises(TrainingError, match=r"trials/0001 holds a finished run, .*move it away"):
        tune(copied, "--trials", "2", *NO_RERUNS)
    assert content(copied / "trials") == runs
    (copied / "trials" / "0001").rename(copied / "elsewhere")
    tune(copied, "--trials", "2", *NO_RERUNS)
    assert [identity_of(trial) for trial in trials_of(copied, "first") if trial.state != TrialState.FAIL] == [0, 1]


@pytest.fixture(scope="module")
def cut_original(original: Path, tmp_path_factory: pytest.TempPathFactory, train: Tune, digits: Path) -> Path:
    """A study whose only trial stopped in the middle, with checkpoints."""
    folder = tmp_path_factory.mktemp("cut") / "cut"
    space, options = original.with_name("space.yaml"), [f"--images={IMAGES}", "--trials=1", *NO_RERUNS]

    def until_the_middle(*arguments: Any) -> bool:
        callback = arguments[4]
        step = callback.step

        def stop_at_the_middle(before: int, seen: int) -> None:
            step(before, seen)
            if seen >= IMAGES // 2:
                raise Stopped

        callback.step = stop_at_the_middle
        return fit(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.tuning.trial.run.fit", until_the_middle)
        train("tune", space, "--data", digits, "--out", folder, *options)
    assert list((folder / "trials" / "0000" / "checkpoints").glob("*.pt"))
    return folder


@pytest.fixture
def cut_short(cut_original: Path, tmp_path: Path) -> Path:
    """The study that stopped in the middle of its trial."""
    return Path(shutil.copytree(cut_original, tmp_path / "cut"))


@pytest.mark.parametrize(
    ("number", "call"), [(errno.EACCES, "iterdir"), (errno.EMFILE, "torch.load"), (errno.EIO, "read_text")]
)
def test_a_disk_error_loses_nothing_of_a_trial(
    number: int, call: str, cut_short: Path, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(cut_short / "trials" / "0000")

    def fail_in_trials(function: Callable[..., object]) -> Callable[..., object]:
        def wrapped(path: object, *arguments: object, **options: object) -> object:
            if "trials/0000" in str(path):
                raise OSError(number, os.strerror(number), str(path))
            return function(path, *arguments, **options)

        return wrapped

    with monkeypatch.context() as patch:
        if call == "iterdir":
            patch.setattr(Path, "iterdir", fail_in_trials(Path.iterdir))
        elif call == "torch.load":
            patch.setattr(torch, "load", fail_in_trials(torch.load))
        else:
            patch.setattr(Path, "read_text", fail_in_trials(Path.read_text))
        with pytest.raises(TrainingError, match=r"start the same command again"):
            tune(cut_short, "--trials", "1", *NO_RERUNS)
    assert content(cut_short / "trials" / "0000") == before
    assert not list(cut_short.glob("trials/0000.aside*")), "no folder was renamed"
    assert "blameless" in trials_of(cut_short)[-1].user_attrs or call == "torch.load"


def test_a_trial_without_a_checkpoint_starts_again_and_its_folder_is_renamed(cut_short: Path, tune: Tune) -> None:
    run = cut_short / "trials" / "0000"
    shutil.rmtree(run / "checkpoints")
    (run / "best.pt").unlink()
    (run / "note.txt").write_text("somebody's own")
    tune(cut_short, "--trials", "1", *NO_RERUNS)
    assert trials_of(cut_short)[-1].state == TrialState.COMPLETE
    assert (run / "best.pt").is_file()
    assert (cut_short / "trials" / "0000.aside-1" / "note.txt").read_text() == "somebody's own"


def test_a_trial_whose_checkpoints_are_all_damaged_is_left_unchanged(cut_short: Path, tune: Tune) -> None:
    run = cut_short / "trials" / "0000"
    for path in run.glob("checkpoints/*.pt"):
        path.write_bytes(b"damaged")
    before = content(run)
    with pytest.raises(TrainingError, match=r"cannot resume the run in .*trials/0000 .*move it away"):
        tune(cut_short, "--trials", "1", *NO_RERUNS)
    assert content(run) == before


def test_another_trials_run_is_not_resumed(cut_short: Path, tune: Tune) -> None:
    config = cut_short / "trials" / "0000" / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 5"))
    before = content(cut_short / "trials" / "0000")
    with pytest.raises(
        TrainingError, match=r"trials/0000 holds another run than .* \(its seed is 5, not 0\); move it away"
    ):
        tune(cut_short, "--trials", "1", *NO_RERUNS)
    assert content(cut_short / "trials" / "0000") == before


def test_an_overwritten_winner_is_not_exported(copied: Path, tune: Tune, tmp_path: Path) -> None:
    for run in copied.glob("trials/0*/"):
        config = run / "config.yaml"
        config.write_text(config.read_text().replace("seed: 0", "seed: 5"))
    with pytest.raises(TrainingError, match=r"another run .*seed is 5, not 0\): another run overwrote the winner"):
        tune(copied, "--trials", "2", *NO_RERUNS, "--export", str(tmp_path / "zoo"))
    assert not (tmp_path / "zoo").exists()
