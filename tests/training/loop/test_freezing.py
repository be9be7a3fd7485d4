"""Frozen layers of a discriminator keep their weights through every phase, and the others learn."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.networks import family_of
from models.networks.layers.spectral_norm import SpectralNorm
from tests.training.tiny_runs import FAMILIES, TINY, arguments
from training.config.files import load_config
from training.errors import TrainingError
from training.loop.batch import Batch
from training.loop.state import TrainingState
from training.loop.step import TrainStep
from training.parallel.distributed import Processes
from training.parallel.rng import BatchRng

CPU = torch.device("cpu")
PENALTIES = ["precision=float32", "regularization.r1=1", "regularization.interval=2"]


@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_layers_stay_and_the_others_learn(family: str) -> None:
    config = load_config("digits", [*TINY, *FAMILIES[family], *PENALTIES, "freeze_discriminator=2"])
    state = TrainingState(config, 10, CPU)
    before = {name: weight.detach().clone() for name, weight in state.discriminator.named_parameters()}
    step = TrainStep(config, state, Processes(0, 1, CPU))
    for seed in range(4):
        reals = torch.rand((16, 1, 16, 16), generator=torch.Generator().manual_seed(seed)) * 2 - 1
        step.step(Batch(reals, torch.arange(16) % 10, BatchRng(seed, CPU), budget_used=0))
    layers = family_of(config.network).discriminator_layers(state.discriminator)
    frozen = {id(weight) for layer in layers[:2] for part in layer for weight in part.parameters()}
    assert frozen
    for name, weight in state.discriminator.named_parameters():
        if id(weight) in frozen:
            assert torch.equal(weight, before[name]), name
            assert weight not in state.discriminator_optimizer.state, name
        else:
            assert name == "blocks.2.gamma" or not torch.equal(weight, before[name]), name
    for module in state.discriminator.modules():
        if isinstance(module, SpectralNorm):
            assert module.left.norm() == pytest.approx(1, abs=1e-4)
    for layer in layers[:2]:
        for part in layer:
            for normalised in (module for module in part.modules() if hasattr(module, "parametrizations")):
                largest = torch.linalg.matrix_norm(normalised.weight.detach().flatten(1), ord=2)
                assert largest == pytest.approx(1, abs=0.05), "still divided by its largest singular value"


def test_more_layers_than_there_are_is_rejected_with_the_range() -> None:
    config = load_config("digits", [*TINY, *FAMILIES["dcgan"], "freeze_discriminator=3"])
    with pytest.raises(
        TrainingError, match="freeze_discriminator is 3, but this discriminator has 2 layers below its "
    ):
        TrainingState(config, 10, CPU)


def test_layers_of_random_networks_are_not_frozen(tmp_path: Path, train: Callable[..., None], digits: Path) -> None:
    given = ["--data", digits, "--out", tmp_path / "run", *arguments(*TINY, *FAMILIES["dcgan"])]
    sentence = (
        "freeze_discriminator 1 keeps layers as they are, .* add --init-from RUN, or set freeze_discriminator to 0"
    )
    for options in ([], ["--dry-run"]):
        with pytest.raises(TrainingError, match=sentence):
            train("fit", "digits", *given, "--set=freeze_discriminator=1", *options)
    assert not (tmp_path / "run").exists()
    train("fit", "digits", *given, "--images=32")
    with pytest.raises(TrainingError, match=sentence):
        train("resume", tmp_path / "run", "--set=freeze_discriminator=1")
