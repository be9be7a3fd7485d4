"""The whole command on tiny networks: the files of a study, its errors, and continuing it."""

import base64
import json
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from optuna.trial import FrozenTrial, TrialState

from models.bundle import read_bundle
from tests.training.tuning.conftest import IMAGES, SPACE, trials_of
from training.config.files import load_config
from training.config.schema import Config
from training.data.dataset import TrainingImages
from training.errors import DivergenceError, TrainingError
from training.loop.fit import fit
from training.runs.folder import RunFolder
from training.tuning.study.queue import identity_of

Tune = Callable[..., None]


def counted(folder: Path, name: str | None = None) -> list[FrozenTrial]:
    """The trials of a study that count."""
    return [trial for trial in trials_of(folder, name) if trial.state != TrialState.FAIL]


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, train: Callable[..., None], small_digits: TrainingImages, digits: Path
) -> Path:
    """A study of six trials, with the winner exported."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE, sort_keys=False))
    options = ["--out", folder / "first", "--images", str(IMAGES), "--trials", "6", "--seeds", "2"]
    train("tune", folder / "space.yaml", "--data", digits, *options, "--export", folder / "zoo")
    return folder / "first"


def test_the_first_trial_is_the_preset_itself(finished: Path) -> None:
    first = counted(finished)[0]
    assert first.state == TrialState.COMPLETE, "the preset is never pruned"
    preset = load_config("digits").generator_optimizer
    assert first.params["generator_optimizer.learning_rate"] == preset.learning_rate
    config = RunFolder.open(finished / "trials" / "0000").config
    assert config.generator_optimizer == preset


def test_every_trial_has_the_same_budget_and_judge(finished: Path) -> None:
    trials = counted(finished)
    assert [trial.number for trial in trials] == list(range(6))
    for trial in trials:
        config = RunFolder.open(finished / "trials" / f"{trial.number:04d}").config
        assert config.judge is not None
        assert (config.images, config.judge.every, config.judge.samples) == (IMAGES, 72, 500)
        assert trial.user_attrs["images_seen"] == (
            IMAGES if trial.state == TrialState.COMPLETE else trial.last_step + 8
        )  # type: ignore[operator]


def test_learning_curves_can_be_read_from_the_study(finished: Path) -> None:
    for trial in counted(finished):
        steps = list(trial.intermediate_values)
        assert steps == [72, 144, 216, 288, 360, 432, 480][: len(steps)]
        if trial.state == TrialState.COMPLETE:
            assert len(steps) == 7
            assert trial.value in trial.intermediate_values.values()
        else:
            assert trial.last_step in (72, 216), "ranked only at the rungs"
            assert re.fullmatch(r"place \d of \d after \d+ images", trial.user_attrs["ended"])


def test_the_best_and_the_preset_are_run_again_on_fresh_seeds(finished: Path) -> None:
    trials = [trial for trial in counted(finished) if trial.state == TrialState.COMPLETE]
    best = {trial.number for trial in sorted(trials, key=lambda trial: trial.value or 0)[:3]} | {0}
    reruns = counted(finished, f"{finished.name}-reruns")
    assert sorted((run.user_attrs["of"], run.user_attrs["seed"]) for run in reruns) == sorted(
        (number, seed) for number in best for seed in (1, 2)
    )
    for run in reruns:
        folder = finished / "reruns" / f"{run.user_attrs['of']:04d}-seed{run.user_attrs['seed']}"
        chosen = min(json.loads(line)["fxd"] for line in (folder / "scores.jsonl").read_text().splitlines())
        assert run.user_attrs["scores"]["fxd"] == pytest.approx(chosen, rel=0.3), "of the same generator"
        assert run.user_attrs["scores"]["fxd"] != chosen, "on other noise than that which chose it"
        assert RunFolder.open(folder).config.seed == run.user_attrs["seed"]


def test_checkpoints_of_finished_trials_are_deleted(finished: Path) -> None:
    assert list(finished.rglob("best.pt"))
    assert not list(finished.rglob("checkpoints"))


def test_the_report_loads_nothing_else(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "<script" not in page
    for heading in ("Samples", "Train it again", "The best, run again", "Learning curves", "Every trial"):
        assert f"<h2>{heading}</h2>" in page
    pictures = re.findall(r"data:image/png;base64,([\w+/=]+)", page)
    assert pictures
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    for trial in counted(finished):
        if trial.state == TrialState.PRUNED:
            assert trial.user_attrs["ended"] in page


def test_the_command_in_the_report_trains_the_winner_again(
    finished: Path, tmp_path: Path, train: Callable[..., None]
) -> None:
    import html
    import shlex

    page = html.unescape((finished / "report.html").read_text())
    (command,) = re.findall(r"<pre>(python -m training .*?)</pre>", page, re.DOTALL)
    train(*shlex.split(command.replace("\\\n", " "))[3:], "--out", tmp_path / "again")
    expected = torch.load(_winner(finished) / "best.pt", weights_only=True)
    found = torch.load(tmp_path / "again" / "best.pt", weights_only=True)
    assert expected["fxd"] == found["fxd"]
    assert all(torch.equal(value, found["generator"][name]) for name, value in expected["generator"].items())


def test_the_final_run_has_its_own_budget(
    finished: Path, tmp_path: Path, train: Callable[..., None], digits: Path
) -> None:
    study = tmp_path / "first"
    shutil.copytree(finished, study)
    options = ["--out", study, "--images", str(IMAGES), "--trials", "6", "--seeds", "2", "--final-images", "960"]
    for _ in range(2):  # the second time, there is nothing left to do
        train("tune", study / "space.yaml", "--data", digits, *options, "--export", tmp_path / "zoo")
    (run,) = counted(study, "first-finals")
    assert run.user_attrs["images_seen"] == 960
    (bundle,) = [path.parent for path in tmp_path.glob("zoo/*/*/card.json")]
    training = read_bundle(bundle).card.training
    assert training is not None
    assert training.images_seen <= 960
    before = RunFolder.open(_winner(finished)).config
    after = RunFolder.open(study / "finals" / f"{run.user_attrs['of']:04d}-960").config
    assert (before.images, after.images) == (IMAGES, 960)
    assert (before.seed, before.network, before.generator_optimizer) == (
        after.seed,
        after.network,
        after.generator_optimizer,
    )
    page = (study / "report.html").read_text()
    assert "the winner, trained for 960 images" in page
    assert "--images 960" in page


def test_a_winner_whose_final_run_fails_is_not_exported_in_another_shape(
    finished: Path,
    tmp_path: Path,
    train: Callable[..., None],
    digits: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = tmp_path / "first"
    shutil.copytree(finished, study)
    monkeypatch.setattr("training.tuning.trial.failures.WARMUP_STEPS", 0)
    monkeypatch.setattr("training.tuning.trial.failures.COLLAPSED_DEVIATION", 10.0)  # no generator varies as much
    options = ["--out", study, "--images", str(IMAGES), "--trials", "6", "--seeds", "2", "--final-images", "960"]
    for _ in range(2):  # the second time, it is known to have failed
        with pytest.raises(TrainingError, match=r"final run of 960 images ended early: one image for every noise.*"):
            train("tune", study / "space.yaml", "--data", digits, *options, "--export", tmp_path / "zoo")
    assert not list(tmp_path.glob("zoo/*/*/card.json"))
    assert (study / "report.html").is_file()


def _winner(finished: Path) -> Path:
    """The folder of the run that was exported."""
    reruns = counted(finished, f"{finished.name}-reruns")
    means = {
        number: [run.value or 0.0 for run in reruns if run.user_attrs["of"] == number]
        for number in {run.user_attrs["of"] for run in reruns}
    }
    best = min(means, key=lambda number: sum(means[number]) / len(means[number]))
    run = min((run for run in reruns if run.user_attrs["of"] == best), key=lambda run: run.value or 0.0)
    return finished / "reruns" / f"{best:04d}-seed{run.user_attrs['seed']}"


def test_the_card_describes_the_study(finished: Path) -> None:
    card = read_bundle(finished.parent / "zoo" / "digits" / "1").card
    assert card.tuning is not None
    assert (card.tuning.study, card.tuning.trials, card.tuning.images) == ("first", 6, IMAGES)
    assert len(card.tuning.objectives) == len(card.tuning.preset_objectives) == 2
    assert sum(card.tuning.objectives) <= sum(card.tuning.preset_objectives)
    assert [score.metric for score in card.scores] == ["fxd", "coverage"]
    assert card.scores[0].judge == card.tuning.judge
    assert card.training.configuration["seed"] in (1, 2)


def test_repeating_the_command_changes_nothing(finished: Path, train: Callable[..., None], digits: Path) -> None:
    before = (finished / "journal.log").read_text()
    options = ["--out", finished, "--images", str(IMAGES), "--trials", "6", "--seeds", "2"]
    space = finished.parent / "space.yaml"
    train("tune", space, "--data", digits, *options, "--export", finished.parent / "zoo")
    assert (finished / "journal.log").read_text() == before
    assert [path.name for path in (finished.parent / "zoo" / "digits").iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--images", "960"], "this study compares runs of 480 images, not of 960"),
        (["--sampler", "random"], "was started with --sampler tpe, not random"),
        (["--no-prune"], "was started with another choice of --prune"),
        (["OTHER DATA"], "this study was started with other images"),
        (["OTHER SPACE"], "this study was started with another space"),
    ],
)
def test_a_study_is_not_mixed_with_another(
    change: list[str], sentence: str, finished: Path, tmp_path: Path, train: Callable[..., None], digits: Path
) -> None:
    space, data = finished.parent / "space.yaml", digits
    if change == ["OTHER SPACE"]:
        space, change = tmp_path / "space.yaml", []
        settings = {**SPACE["settings"], "network.width": 16}  # type: ignore[dict-item]
        space.write_text(yaml.safe_dump({**SPACE, "settings": settings}, sort_keys=False))
    if change == ["OTHER DATA"]:
        import pyarrow.parquet as parquet

        data, change = tmp_path / "digits.parquet", []
        parquet.write_table(parquet.read_table(digits).slice(1), data)
    before = (finished / "journal.log").read_text()
    arguments = ["--images", str(IMAGES), "--trials", "6", *change]
    with pytest.raises(TrainingError, match=sentence):
        train("tune", space, "--data", data, "--out", finished, *arguments)
    assert (finished / "journal.log").read_text() == before


def test_errors_of_a_space_are_reported_before_the_first_trial(tune: Tune, tmp_path: Path, space_file: Path) -> None:
    search = {"los": {"choices": [1, 2]}, "batch_size": {"low": 8, "high": 4096}}
    space_file.write_text(yaml.safe_dump({**SPACE, "search": search}, sort_keys=False))
    with pytest.raises(TrainingError, match=r"there is no setting los; .*batch_size 4096: a budget of 480 images"):
        tune(tmp_path / "study")
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (
            DivergenceError("generator_loss is nan after 40 images: it has diverged. Try less"),
            "generator_loss is nan after 40",
        ),
        (torch.OutOfMemoryError("CUDA out of memory"), "the device has too little memory to train with these settings"),
    ],
)
def test_failed_runs_end_early_with_a_reason(
    failure: Exception, reason: str, tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure of the settings ends the trial, not the study; the sampler sees a bad trial."""

    def fit_or_fail(config: Config, *others: Any) -> bool:
        if config.generator_optimizer.learning_rate != load_config("digits").generator_optimizer.learning_rate:
            raise failure
        return fit(config, *others)

    monkeypatch.setattr("training.tuning.trial.run.fit", fit_or_fail)
    tune(tmp_path / "study", "--trials", "3", "--seeds", "0")
    preset, *others = counted(tmp_path / "study")
    assert preset.state == TrialState.COMPLETE
    assert [trial.state for trial in others] == [TrialState.PRUNED] * 2
    assert all(reason in trial.user_attrs["ended"] for trial in others)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's writer
def test_a_full_disk_is_reported_in_one_sentence_and_loses_nothing(tune: Tune, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    tune(tmp_path / "study", "--trials", "1", "--seeds", "0")
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        with pytest.raises(TrainingError, match=r"cannot write"):
            tune(tmp_path / "study", "--trials", "3", "--seeds", "0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    tune(tmp_path / "study", "--trials", "3", "--seeds", "0")
    assert len({identity_of(trial) for trial in counted(tmp_path / "study")}) == 3


def test_several_workers_share_a_study(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tune(tmp_path / "study", "--trials", "4", "--seeds", "0", "--workers", "2")
    trials = counted(tmp_path / "study")
    assert [identity_of(trial) for trial in trials] == [0, 1, 2, 3]
    assert len({trial.user_attrs["worker"] for trial in trials}) == 2
    assert "Report:" in capfd.readouterr().out


def test_a_study_measures_its_precision_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials of one study must not differ because two measurements did."""
    from training.config.files import load_config
    from training.loop import precision
    from training.tuning.commands import _precision

    answers: list[precision.Precision] = ["bfloat16", "float32"]

    def measure(config: object, device: torch.device) -> precision.PrecisionChoice:
        return precision.PrecisionChoice(answers.pop(0), {"float32": 1.0, "bfloat16": 2.0}, 8)

    monkeypatch.setattr(precision, "choose_precision", measure)
    base, cpu = load_config("digits"), torch.device("cpu")
    assert [_precision(tmp_path, base, cpu) for _ in range(2)] == ["bfloat16", "bfloat16"]
    fixed = base.model_copy(update={"precision": "float32"})
    assert _precision(tmp_path, fixed, cpu) == "float32"
    assert len(answers) == 1
