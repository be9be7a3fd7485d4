"""The doctor in ``fit``: watching changes nothing, stopping keeps the best, treating resumes bit for bit."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.training.loop.test_resume import copy_as_if_killed
from tests.training.tiny_runs import FAMILIES, OBJECTIVES, TINY, arguments, assert_same_weights
from training.cli import app
from training.config.files import load_config
from training.data.dataset import load_images
from training.doctor.doctor import Doctor, Finding
from training.doctor.rules import Reason
from training.doctor.signals import Signals
from training.errors import DivergenceError
from training.loop.callbacks import Callback
from training.loop.fit import fit
from training.loop.state import TrainingState
from training.loop.step import TrainStep
from training.parallel.distributed import Processes
from training.runs.checkpoints import checkpoints
from training.runs.folder import RunFolder
from training.runs.json_lines import DOCTOR_FILE
from training.runs.logit_probe import LogitProbe
from training.runs.reporter import Reporter

ALONE = Processes(0, 1, torch.device("cpu"))
SETTINGS = [
    *TINY, *FAMILIES["dcgan"], "network.discriminator_norm=none", "precision=float32", "images=640",
    "pace.checkpoint=32", "pace.samples=640",
]  # fmt: skip
"""40 steps, each of them a row of signals."""

Falls = Callable[..., None]


@pytest.fixture
def falls_ill(monkeypatch: pytest.MonkeyPatch) -> Falls:
    """Returns a function that makes every doctor find a condition at a step, without 50 rows before it."""

    def at(condition: str, *steps: int) -> None:
        original = Doctor.observe

        def observe(self: Doctor, signals: Signals) -> list[Finding]:
            found = original(self, signals)
            if signals.step in steps and signals.d_loss is not None:
                found += self._report(condition, signals.step, Reason("simulated", {}, math.inf), at_once=True)
            return found

        monkeypatch.setattr(Doctor, "observe", observe)

    return at


@pytest.fixture
def keep_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps every checkpoint of a run."""
    monkeypatch.setattr("training.runs.checkpoints.KEPT_CHECKPOINTS", 100)


def metrics(run: Path, key: str) -> list[dict[str, Any]]:
    return [line for text in (run / "metrics.jsonl").read_text().splitlines() if key in (line := json.loads(text))]


@pytest.mark.parametrize(
    ("family", "objective"),
    [("dcgan", "non_saturating"), ("stylegan2", "styles"), ("sngan", "hinge"), ("biggan", "hinge")],
)
def test_watching_changes_no_bit(tmp_path: Path, digits: Path, family: str, objective: str) -> None:
    config = load_config("digits", [*TINY, *FAMILIES[family], *OBJECTIVES[objective], "precision=float32"])
    assert config.doctor == "watch"
    data = load_images(str(digits), config.data)
    unwatched, watched = (TrainingState(config, 10, ALONE.device) for _ in range(2))
    fit(config, data, unwatched, ALONE, Callback())
    run = RunFolder.create(tmp_path / "run", config, str(digits), data)
    fit(config, data, watched, ALONE, Reporter(run, data, watched, None, quiet=True))
    assert "held_out_logit" in (run.path / DOCTOR_FILE).read_text(), "the logits were measured"
    for name in ("generator", "discriminator", "ema"):
        expected, found = getattr(unwatched, name).state_dict(), getattr(watched, name).state_dict()
        assert all(torch.equal(value, found[key]) for key, value in expected.items()), name


def test_held_out_logits_are_those_of_images_that_no_batch_holds(digits: Path) -> None:
    config = load_config("digits", [*TINY, *FAMILIES["dcgan"], "precision=float32", "data.holdout=0.1"])
    data = load_images(str(digits), config.data)
    state = TrainingState(config, 10, ALONE.device)
    probe = LogitProbe(data, config, state)
    kinds = {kind: set(chosen.tolist()) for kind, chosen in probe._kinds.items()}
    assert not kinds["train_logit"] & kinds["held_out_logit"]
    assert len(kinds["held_out_logit"]) == 51

    class Brightness(nn.Module):
        def forward(self, images: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
            assert label is not None
            return images.mean((1, 2, 3))

    state.discriminator = Brightness()
    means = probe.measure()
    chosen = sorted(kinds["held_out_logit"])
    assert means["held_out_logit"] == pytest.approx(data.images[chosen].mean() / 127.5 - 1, abs=1e-3)
    nothing = LogitProbe(data, load_config("digits", [*TINY, "data.holdout=0"]), state)
    assert not nothing.possible


def test_findings_reach_console_metrics_and_diagnose(
    tmp_path: Path, train: Callable[..., None], digits: Path, falls_ill: Falls, capfd: pytest.CaptureFixture[str]
) -> None:
    falls_ill("discriminator_overpowers", 160)
    train("fit", "digits", "--data", digits, "--out", tmp_path / "run", *arguments(*SETTINGS))
    printed = capfd.readouterr()
    assert "160 images, doctor: the discriminator wins (discriminator_overpowers, sure, since " in printed.err
    assert "--set regularization.r1=1" in printed.err
    assert "doctor: discriminator_overpowers  " in printed.err, "in the lines of ticks, too"
    assert "trained on 640 images" in printed.out, "watch only speaks"
    [line] = metrics(tmp_path / "run", "finding")
    assert (line["images_seen"], line["finding"], line["evidence"]) == (160, "discriminator_overpowers", "simulated")
    app(["diagnose", str(tmp_path / "run")], standalone_mode=False)
    assert "(from 160, reported at 160, sure)" in capfd.readouterr().out


def test_stop_ends_a_lost_run_and_changes_no_step(
    tmp_path: Path, train: Callable[..., None], digits: Path, falls_ill: Falls, capfd: pytest.CaptureFixture[str]
) -> None:
    falls_ill("discriminator_overpowers", 160)
    train("fit", "digits", "--data", digits, "--out", tmp_path / "whole", *arguments(*SETTINGS))
    run = tmp_path / "stopped"
    train("fit", "digits", "--data", digits, "--out", run, *arguments(*SETTINGS, "doctor=stop"))
    printed = capfd.readouterr()
    assert "stopped: given up after 240 images. the discriminator wins (discriminator_overpowers)" in printed.out
    assert "--set doctor=watch" in printed.out
    [line] = metrics(run, "given_up")
    assert line["images_seen"] == 240
    assert "simulated" in line["given_up"]
    assert int(checkpoints(run / "checkpoints")[-1].stem) == 240
    app(["diagnose", str(run)], standalone_mode=False)
    assert "given up: the discriminator wins" in capfd.readouterr().out
    train("resume", run)
    assert "given up after 256 images" in capfd.readouterr().out, "it still is lost"
    train("resume", run, "--set=doctor=watch")
    assert_same_weights(tmp_path / "whole", run)


@pytest.mark.parametrize(
    ("condition", "remedy", "changed"),
    [
        ("discriminator_overpowers", "regularise", {"regularization.r1": [0.0, 1.0]}),
        ("oscillation", "regularise", {"regularization.r1": [0.0, 1.0]}),
        (
            "discriminator_overfits",
            "augment",
            {"augmentation.diff_augment": [[], ["translation"]]},
        ),
        ("mode_collapse", "roll_back", {}),
    ],
)
def test_a_treated_run_resumes_bit_for_bit(
    tmp_path: Path,
    train: Callable[..., None],
    digits: Path,
    falls_ill: Falls,
    keep_all: None,
    condition: str,
    remedy: str,
    changed: dict[str, list[Any]],
) -> None:
    """From before the treatment, from its very step, and from after it."""
    falls_ill(condition, 160, 336)
    whole = tmp_path / "whole"
    train("fit", "digits", "--data", digits, "--out", whole, *arguments(*SETTINGS, "doctor=treat"))
    first, second = metrics(whole, "treatment")
    assert first["images_seen"] == 192, "once it has stood for a tenth of the run"
    assert first["treatment"] == {
        "condition": condition, "remedy": remedy, "settings": changed, "returned_to": 128,
    }  # fmt: skip
    assert second["treatment"]["remedy"] != remedy, "one after the other"
    weights = torch.load(checkpoints(whole / "checkpoints")[-1], weights_only=True)
    rate = weights["discriminator_optimizer"]["param_groups"][0]["lr"]
    rates = [values[1] for line in (first, second) for key, values in line["treatment"]["settings"].items()
             if key == "discriminator_optimizer.learning_rate"]  # fmt: skip
    assert rate == (rates or [0.0002])[-1]
    for images in (160, 192, 384):
        copy_as_if_killed(whole, tmp_path / str(images), images)
        train("resume", tmp_path / str(images))
        assert_same_weights(whole, tmp_path / str(images))
        assert metrics(tmp_path / str(images), "treatment") == [
            {**line, "time": again["time"]}
            for line, again in zip((first, second), metrics(tmp_path / str(images), "treatment"), strict=True)
        ]


def test_a_treatment_goes_on_from_earlier_networks_with_fresh_noise(
    tmp_path: Path, train: Callable[..., None], digits: Path, falls_ill: Falls, keep_all: None
) -> None:
    falls_ill("mode_collapse", 160)
    run = tmp_path / "run"
    train("fit", "digits", "--data", digits, "--out", run, *arguments(*SETTINGS, "doctor=treat"))
    saved = {int(path.stem): torch.load(path, weights_only=True) for path in checkpoints(run / "checkpoints")}
    for part in ("generator", "discriminator", "average_20000"):
        for name, value in saved[128][part].items():
            assert torch.equal(value, saved[192][part][name]), (part, name)
    states = [saved[seen]["generator_optimizer"]["state"][0]["exp_avg"] for seen in (128, 192, 160, 256)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(saved[160]["generator"]["project.weight"], saved[224]["generator"]["project.weight"])


def test_a_treated_run_keeps_what_the_user_then_sets(
    tmp_path: Path, train: Callable[..., None], digits: Path, falls_ill: Falls
) -> None:
    falls_ill("not_finite", 160)
    run = tmp_path / "run"
    train("fit", "digits", "--data", digits, "--out", run, *arguments(*SETTINGS, "images=320", "doctor=treat"))
    rate = "discriminator_optimizer.learning_rate"
    train("resume", run, "--images=352", f"--set={rate}=0.0007")
    content = torch.load(checkpoints(run / "checkpoints")[-1], weights_only=True)
    assert content["discriminator_optimizer"]["param_groups"][0]["lr"] == 0.0007
    assert content["generator_optimizer"]["param_groups"][0]["lr"] == 0.00005, "what nobody changed stays treated"


def test_nan_is_treated_by_earlier_networks_and_lower_rates(
    tmp_path: Path, train: Callable[..., None], digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainStep._generator_loss

    def with_nan(self, batch):  # type: ignore[no-untyped-def]
        # The first rates break the weights; lower ones do not.
        broken = self._state.images_seen >= 200 and self._config.generator_optimizer.learning_rate > 0.0001
        return original(self, batch) * (float("nan") if broken else 1)

    monkeypatch.setattr(TrainStep, "_generator_loss", with_nan)
    run = tmp_path / "run"
    begin = ("fit", "digits", "--data", digits, "--out")
    train(*begin, run, *arguments(*SETTINGS, "doctor=treat"))
    [line] = metrics(run, "treatment")
    assert (line["treatment"]["condition"], line["treatment"]["remedy"]) == ("not_finite", "slow_down")
    assert line["treatment"]["returned_to"] == 192
    for doctor in ("watch", "stop"):
        with pytest.raises(DivergenceError, match="generator_loss is nan after 224 images"):
            train(*begin, tmp_path / doctor, *arguments(*SETTINGS, f"doctor={doctor}"))


class Score:
    """Judges by the images seen alone: best in the middle, then ever worse."""

    name, samples = "fxd-fake", 500
    noise_baseline = {"fxd": 1_000.0}  # noqa: RUF012 - as the protocol has it

    def __init__(self, state: TrainingState) -> None:
        self.state = state

    def score(self, generator: nn.Module) -> dict[str, float]:
        """Returns a distance with its minimum at 320 images."""
        return {"fxd": 10 + abs(self.state.images_seen - 320) / 10, "coverage": 0.5}


def judged(tmp_path: Path, digits: Path, doctor: str) -> tuple[RunFolder, TrainingState]:
    settings = [*SETTINGS, "judge={every: 64, samples: 500}", f"doctor={doctor}", "pace.checkpoint=320"]
    config = load_config("digits", settings)
    data = load_images(str(digits), config.data)
    state = TrainingState(config, 10, ALONE.device)
    run = RunFolder.create(tmp_path / doctor, config, str(digits), data)
    fit(config, data, state, ALONE, Reporter(run, data, state, lambda: Score(state), quiet=True))
    return run, state


def test_the_judge_ends_a_run_whose_best_is_over(tmp_path: Path, digits: Path) -> None:
    run, state = judged(tmp_path, digits, "stop")
    assert state.given_up is not None
    assert state.given_up.startswith("the best is over (late_degradation): the score is 22.8; the best was 10 at 320")
    assert state.images_seen == 592, "the row after the fourth score in a row over 1.1 × the best"
    assert torch.load(run.best, weights_only=True)["images_seen"] == 320
    assert not (tmp_path / "resumed").exists()


def test_the_judge_sends_a_run_back_to_its_best(tmp_path: Path, digits: Path) -> None:
    run, state = judged(tmp_path, digits, "treat")
    treatment = metrics(run.path, "treatment")[0]["treatment"]
    assert (treatment["condition"], treatment["returned_to"]) == ("late_degradation", 320)
    outcome = metrics(run.path, "outcome_of")[0]
    assert outcome["score_before"] < outcome["score_after"], "this judge gets worse whatever is done"
    assert state.best is not None
    assert state.best.images_seen == 320
    shutil.rmtree(run.path)
