"""Real digits, and features of them by a fixed random layer instead of a network."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config.schema import DataConfig
from training.data.dataset import TrainingImages, load_images
from training.evaluation.judge.network import Judge
from training.evaluation.judge.train import train_judge


@pytest.fixture(scope="session")
def digit_images(digits: Path) -> TrainingImages:
    """512 real digits, uint8 [512, 32, 32, 1], and their labels."""
    return load_images(str(digits), DataConfig(resolution=32, channels=1, fit="pad"))


@pytest.fixture(scope="session")
def features_of() -> Callable[[NDArray[np.uint8]], Tensor]:
    """A function from images to float32 [n, 32]: one random linear layer and a ReLU over the pixels."""
    weights = np.random.RandomState(0).randn(32 * 32, 32) / 32

    def features(images: NDArray[np.uint8]) -> Tensor:
        pixels = np.asarray(images).reshape(len(images), -1) / 127.5 - 1
        return torch.from_numpy(np.maximum(pixels @ weights, 0).astype(np.float32))

    return features


@pytest.fixture(scope="session")
def judge(digit_images: TrainingImages) -> Judge:
    """A judge trained briefly on real digits."""
    return train_judge(digit_images, epochs=8)


@pytest.fixture(scope="session")
def judge_file(judge: Judge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("judge") / "digits.pt"
    judge.save(path)
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the generator that ships: evaluating a bundle changes its card."""
    return shutil.copytree(Path(__file__).parents[3] / "models" / "zoo" / "digits" / "3", tmp_path / "zoo/digits/3")
