"""A step follows every schedule, mixes styles, keeps the path length's target, and computes penalties in float32."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.tiny_runs import FAMILIES, OBJECTIVES, TINY
from training.config.files import load_config
from training.data.dataset import TrainingImages, load_images
from training.loop.callbacks import Callback
from training.loop.ema import ema_decay
from training.loop.fit import fit
from training.loop.state import TrainingState
from training.loop.step import Batch, TrainStep
from training.objective.regularizers import lazy_adam
from training.parallel.distributed import Processes
from training.parallel.rng import BatchRng

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)


@pytest.fixture(scope="module")
def images(digits: Path) -> TrainingImages:
    return load_images(str(digits), load_config("digits", TINY).data)


def record_steps(images: TrainingImages, *settings: str, processes: Processes = ALONE) -> list[dict[str, Any]]:
    """Trains, and returns each step's metrics with its optimisers' settings. The last entry is the final state."""
    config = load_config("digits", [*TINY, *settings])
    state, steps = TrainingState(config, 10, CPU), []
    step = TrainStep.step

    def recorded(self: TrainStep, batch: Batch) -> dict[str, Tensor]:
        metrics = step(self, batch)
        groups = {
            "generator": state.generator_optimizer.param_groups[0],
            "discriminator": state.discriminator_optimizer.param_groups[0],
        }
        steps.append({**metrics, **{name: (group["lr"], group["betas"]) for name, group in groups.items()}})
        return metrics

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainStep, "step", recorded)
        fit(config, images, state, processes, Callback())
    return [*steps, {"state": state}]


def series(steps: Iterable[dict[str, Any]], name: str) -> list[float]:
    return [float(step[name]) for step in steps if name in step]


def test_every_schedule_ends_with_the_burn_in(images: TrainingImages) -> None:
    """Eight steps, of which the burn-in takes four: β₂, the rate, γ and the probability, as by hand."""
    *steps, end = record_steps(
        images,
        *FAMILIES["mlp"],
        "loss=relativistic",
        "burn_in=0.5",
        "regularization.r1=8",
        "regularization.r2=8",
        "regularization.interval=2",
        "regularization.gamma_schedule=linear",
        "regularization.gamma_final_share=0.5",
        "augmentation.scheduled={probability: 0.4, schedule: linear}",
        "discriminator_optimizer={learning_rate: 0.001, beta1: 0.5, beta2: 0.9, schedule: linear, final_beta2: 0.98}",
        "generator_optimizer={learning_rate: 0.001, beta1: 0.5, beta2: 0.9, schedule: linear, final_beta2: 0.98, "
        "final_share: 0.2}",
        "ema={half_lives: [64], ramp: 1, growth: linear}",
    )
    progress = [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]
    rates, betas = zip(*(step["generator"] for step in steps), strict=True)
    assert rates == pytest.approx([0.001 * (1 - 0.8 * share) for share in progress])
    assert [beta2 for _, beta2 in betas] == pytest.approx([0.9 + 0.08 * share for share in progress])
    for share, step in zip(progress, steps, strict=True):
        _, lazy = lazy_adam(0.001, 0.5, 0.9 + 0.08 * share, 2)
        assert step["discriminator"][1] == pytest.approx(lazy), "β₂ and its correction for lazy penalties"
    assert series(steps, "augmentation_probability") == pytest.approx([0.4 * share for share in progress])
    for step, share in zip(steps[1::2], progress[1::2], strict=True):
        penalty = 2 * 0.5 * 8 * (1 - 0.5 * share) * (step["r1"] + step["r2"])
        torch.testing.assert_close(step["discriminator_penalty_loss"], penalty)
    assert end["state"].images_seen == 128


def test_a_half_life_grows_by_its_schedule(images: TrainingImages, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def recorded(half_life: float, *others: Any) -> float:
        seen.append(half_life)
        return ema_decay(half_life, *others)

    monkeypatch.setattr("training.loop.step.ema_decay", recorded)
    record_steps(images, *FAMILIES["mlp"], "burn_in=0.5", "ema={half_lives: [64], ramp: 1, growth: linear}")
    assert seen == pytest.approx([16, 32, 48, 64, 64, 64, 64, 64])


def test_path_length_has_a_phase_of_its_own(images: TrainingImages) -> None:
    *steps, end = record_steps(images, *FAMILIES["stylegan2"], *OBJECTIVES["styles"])
    assert ["path_length" in step for step in steps] == [False, False, False, True] * 2
    first, second = series(steps, "path_length")
    assert end["state"].path_length.target.item() == pytest.approx(0.99 * 0.01 * first + 0.01 * second)
    plain, _ = lazy_adam(0.0002, 0.5, 0.999, 4)
    assert steps[0]["generator"][0] == pytest.approx(plain), "Adam is corrected for the additional steps"
    steps_of_adam = {int(entry["step"]) for entry in end["state"].generator_optimizer.state.values()}
    assert steps_of_adam == {10}, "every weight takes the additional steps, biases too"


def test_path_length_counts_steps_of_the_generator(images: TrainingImages) -> None:
    *steps, _ = record_steps(images, *FAMILIES["stylegan2"], *OBJECTIVES["styles"], "discriminator_steps=2")
    assert ["path_length" in step for step in steps] == [False] * 7 + [True]


def test_all_processes_have_the_same_target(images: TrainingImages) -> None:
    class Others(Processes):
        def average(self, tensors: Iterable[Tensor]) -> None:
            """Averages a scalar with that of another process, whose paths are as long as 3."""
            for tensor in tensors:
                if tensor.dim() == 0:
                    tensor.add_(3).div_(2)

    *steps, end = record_steps(images, *FAMILIES["stylegan2"], *OBJECTIVES["styles"], processes=Others(0, 1, CPU))
    first, second = series(steps, "path_length")
    assert min(first, second) > 1.5, "the mean of both"
    assert end["state"].path_length.target.item() == pytest.approx(0.99 * 0.01 * first + 0.01 * second)


def test_styles_are_mixed_with_the_probability(images: TrainingImages) -> None:
    config = load_config("digits", [*TINY, *FAMILIES["stylegan2"], "regularization.style_mixing=0.75"])
    state = TrainingState(config, 0, CPU)
    train_step = TrainStep(config, state, ALONE)
    noise = torch.randn(2000, config.network.noise_dim)
    batch = Batch(torch.zeros(2000, 1, 16, 16), None, BatchRng(0, CPU), 0.0)
    layers = torch.stack(train_step._styles(noise, None, batch))
    average = state.generator.w_average.clone()
    own = torch.isclose(layers, state.generator.mapping(noise, None)).all(2)
    assert own[0].all(), "the first layer always has the image's own style"
    crossovers = own.sum(0)
    assert (own == (torch.arange(len(layers))[:, None] < crossovers)).all(), "never back again"
    counts = torch.bincount(crossovers, minlength=7)[1:] / 2000
    assert counts.tolist() == pytest.approx([0.15] * 5 + [0.25], abs=0.03)
    torch.testing.assert_close(average, 0.002 * layers[0].mean(0), msg="the average w is that of one noise per image")
    again = train_step._styles(noise, None, Batch(batch.reals, None, BatchRng(0, CPU), 0.0))
    assert torch.equal(torch.stack(again), layers), "the seed decides"


@pytest.fixture
def with_tf32() -> Iterator[None]:
    """Allows TF32, as PyTorch does by default for convolutions."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, True
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.usefixtures("with_tf32")
def test_penalties_and_their_derivatives_do_without_tf32(
    images: TrainingImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU, convolutions would otherwise round to 10 bits."""
    seen: list[bool] = []
    backward = torch.autograd.backward

    def recorded(*arguments: Any) -> None:
        seen.extend((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        backward(*arguments)

    monkeypatch.setattr(torch.autograd, "backward", recorded)
    record_steps(images, *FAMILIES["mlp"], "regularization.r1=1", "images=16")
    assert seen == [False] * 4
    assert torch.backends.cudnn.allow_tf32, "as before afterwards"
    assert torch.backends.cuda.matmul.allow_tf32, "as before afterwards"
