"""Judging during training: the same weights get the same scores, and the run stays unchanged."""

import math

import numpy as np
import pytest
import torch

from models.bundle import ImageSpec
from models.networks import build_generator
from models.networks.dcgan import DcganConfig
from training.data.dataset import TrainingImages
from training.errors import TrainingError
from training.evaluation.in_loop import LoopJudge
from training.evaluation.judge.network import Judge
from training.evaluation.metrics.table import LOOP_METRICS


@pytest.fixture(scope="module")
def loop_judge(digit_images: TrainingImages, judge: Judge) -> LoopJudge:
    return LoopJudge(digit_images, 200, judge, noise_dim=8, conditional=True)


@pytest.fixture
def generator() -> torch.nn.Module:
    torch.manual_seed(0)
    image = ImageSpec(height=32, width=32, channels=1)
    return build_generator(DcganConfig(noise_dim=8, width=4), image, 10).train()


def test_the_same_weights_score_the_same(loop_judge: LoopJudge, generator: torch.nn.Module) -> None:
    assert loop_judge.score(generator) == loop_judge.score(generator)


def test_it_changes_no_state_of_the_run(loop_judge: LoopJudge, generator: torch.nn.Module) -> None:
    weights = {name: value.clone() for name, value in generator.state_dict().items()}
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(5)
    np.random.seed(5)
    loop_judge.score(generator)
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])
    assert generator.training
    assert all(torch.equal(value, weights[name]) for name, value in generator.state_dict().items())
    assert all(parameter.grad is None for parameter in generator.parameters())


def test_it_has_baselines(loop_judge: LoopJudge, judge: Judge, generator: torch.nn.Module) -> None:
    assert loop_judge.name == judge.name
    scores = loop_judge.score(generator)
    assert loop_judge.real_baseline["fxd"] < loop_judge.noise_baseline["fxd"]
    assert loop_judge.real_baseline["fxd"] < scores["fxd"]
    assert list(scores) == [metric.name for metric in LOOP_METRICS]
    assert 0 <= scores["coverage"] <= 1


def test_real_images_beat_a_fresh_generator(
    loop_judge: LoopJudge, generator: torch.nn.Module, digit_images: TrainingImages
) -> None:
    class Copies(torch.nn.Linear):
        """Returns real images for any noise."""

        def forward(self, noise: torch.Tensor, label: object = None, truncation: object = None) -> torch.Tensor:
            images = torch.from_numpy(digit_images.images[: len(noise)].copy())
            return images.permute(0, 3, 1, 2).float() / 127.5 - 1

    real, fresh = loop_judge.score(Copies(1, 1)), loop_judge.score(generator)
    assert real["fxd"] < fresh["fxd"]
    assert real["coverage"] > fresh["coverage"]


def test_a_diverged_generator_is_reported(loop_judge: LoopJudge, generator: torch.nn.Module) -> None:
    next(generator.parameters()).data.fill_(math.nan)
    with pytest.raises(TrainingError, match="images contain NaN or Inf"):
        loop_judge.score(generator)
