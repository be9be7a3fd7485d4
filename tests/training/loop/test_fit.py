"""A run learns with every family and every loss, and its folder holds the promised files."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from models.networks import FAMILIES as REGISTRY
from tests.training.tiny_runs import FAMILIES, arguments
from training.config.files import load_config
from training.data.dataset import TrainingImages, load_images
from training.errors import TrainingError
from training.evaluation.in_loop import LoopJudge
from training.evaluation.judge.train import train_judge
from training.loop.callbacks import Callback, passed_multiple
from training.loop.ema import update_ema
from training.loop.fit import fit, step_seed
from training.loop.state import TrainingState
from training.loop.step import TrainStep
from training.objective.losses import LOSSES
from training.parallel.distributed import Processes
from training.runs.checkpoints import checkpoints

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)


def test_the_folder_holds_the_promised_files(finished_run: Path) -> None:
    names = {path.name for path in finished_run.iterdir()}
    expected = (
        "config.yaml data.json environment.json run.lock metrics.jsonl doctor.jsonl reals.png curves.png samples "
        "checkpoints tensorboard"
    )
    assert names == set(expected.split())
    lines = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    assert [line["images_seen"] for line in lines] == [128, 256, 384, 512]
    measured = (
        "discriminator_loss generator_loss real_logit fake_logit discriminator_gradient_norm "
        "generator_gradient_norm images_per_second data_wait_share judge_share"
    )
    assert set(measured.split()) <= lines[0].keys()
    assert [path.stem for path in sorted((finished_run / "samples").iterdir())] == [
        f"{seen:012d}" for seen in (0, 256, 512)
    ]
    grid = Image.open(finished_run / "samples" / "000000000512.png")
    assert grid.size == (2 * 10 * 32 + 8, 8 * 32), "generated beside real"
    assert list((finished_run / "tensorboard").glob("events*"))


@pytest.fixture(scope="module")
def small_digits(digits: Path) -> TrainingImages:
    return load_images(str(digits), load_config("digits", LEARNING).data)


@pytest.fixture(scope="module")
def judge(small_digits: TrainingImages) -> LoopJudge:
    """Trains the digits' own judge, for noise of the preset's length."""
    return LoopJudge(small_digits, 200, train_judge(small_digits, epochs=10), noise_dim=64, conditional=True)


def improvement(settings: list[str], data: TrainingImages, judge: LoopJudge) -> float:
    """Trains, and returns the judge's distance after / before."""
    config = load_config("digits", settings)
    state = TrainingState(config, 10, CPU)
    before = judge.score(state.ema)["fxd"]
    assert fit(config, data, state, ALONE, Callback())
    return judge.score(state.ema)["fxd"] / before


LEARNING = [
    "data.fit=crop",
    "data.resolution=16",
    "precision=float32",
    "batch_size=16",
    "judge=null",
    "generator_optimizer.learning_rate=0.002",
    "ema.half_lives=[300]",
    "ema.ramp=0.2",
]


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns(loss: str, small_digits: TrainingImages, judge: LoopJudge) -> None:
    settings = [
        *LEARNING,
        f"loss={loss}",
        "images=3200",
        "network.width=16",
        "network.discriminator_norm=spectral",
        "discriminator_optimizer.learning_rate=0.0005",  # minimax gets no gradient from a discriminator that wins
    ]
    assert improvement(settings, small_digits, judge) < 0.6


@pytest.mark.parametrize("family", REGISTRY)
def test_every_family_learns(family: str, small_digits: TrainingImages, judge: LoopJudge) -> None:
    settings = [
        *LEARNING,
        *FAMILIES[family],
        "images=9600" if family == "mlp" else "images=3200",  # perceptrons learn slowly, and step fast
        "regularization.r1=0.1",
        "generator_optimizer.beta1=0",
        "discriminator_optimizer.beta1=0",
        "discriminator_optimizer.learning_rate=0.002",
    ]
    assert improvement(settings, small_digits, judge) < 0.6


def test_divergence_names_the_phase_and_keeps_the_last_checkpoint(
    tmp_path: Path, train: Callable[..., None], digits: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainStep._generator_loss

    def with_nan(self, batch):  # type: ignore[no-untyped-def]
        return original(self, batch) * (float("nan") if self._state.images_seen >= 384 else 1)

    monkeypatch.setattr(TrainStep, "_generator_loss", with_nan)
    with pytest.raises(TrainingError, match="generator_loss is nan after 416 images"):
        train("fit", "digits", "--data", digits, "--out", tmp_path / "run", *arguments(*small))
    assert [path.stem for path in checkpoints(tmp_path / "run" / "checkpoints")] == ["000000000256"]


def test_the_ema_halves_after_its_half_life() -> None:
    config = load_config("digits", ["network.width=4", "network.noise_dim=4"])
    state = TrainingState(config, 0, CPU)
    weight, ema = state.generator.project.weight, state.ema.project.weight
    with torch.no_grad():
        weight.fill_(0.0)
        ema.fill_(1.0)
    for _ in range(10):
        update_ema(state.ema, state.generator, decay=0.5 ** (64 / 640))
    torch.testing.assert_close(ema, torch.full_like(ema, 0.5))


def test_step_seeds_differ() -> None:
    seeds = {step_seed(seed, seen, stream) for seed in range(20) for seen in range(0, 640, 64) for stream in range(3)}
    assert len(seeds) == 600


def test_passed_multiple() -> None:
    assert passed_multiple(60, 124, 64)
    assert passed_multiple(0, 64, 64)
    assert not passed_multiple(64, 127, 64)


def test_compiled_networks_take_the_same_steps(small_digits: TrainingImages, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces and differentiates as the compiler does, without its last stage, which needs g++."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    states = []
    for compiled in ("false", "true"):
        settings = [*LEARNING, *FAMILIES["mlp"], "images=64", "regularization.r1=0.1", f"compile={compiled}"]
        config = load_config("digits", settings)
        states.append(TrainingState(config, 10, CPU))
        fit(config, small_digits, states[-1], ALONE, Callback())
    plain, compiled_weights = (state.generator.state_dict() for state in states)
    for name, value in plain.items():
        torch.testing.assert_close(compiled_weights[name], value, rtol=1e-3, atol=1e-4)
