"""A space of tiny networks, and a cached judge."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import FrozenTrial

from training.config.schema import DataConfig
from training.data.cache import judges_folder
from training.data.dataset import TrainingImages, load_images
from training.evaluation.judge.train import train_judge
from training.tuning.study.storage import Journal

SPACE = {
    "preset": "digits",
    "settings": {
        "data.fit": "crop",
        "data.resolution": 16,
        "network.family": "mlp",
        "network.width": 32,
        "network.depth": 2,
        "network.noise_dim": 8,
        "batch_size": 16,
        "judge.samples": 500,
        "regularization.r1": 0,
        "regularization.interval": 1,
        "ema.half_lives": [20000],
        "precision": "float32",
    },
    "search": {
        "generator_optimizer.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "discriminator_optimizer.learning_rate": {
            "times": "generator_optimizer.learning_rate",
            "low": 0.25,
            "high": 4.0,
            "log": True,
        },
        "generator_optimizer.beta1": {"choices": [0.0, 0.5]},
        "discriminator_optimizer.beta1": {"same_as": "generator_optimizer.beta1"},
        "penalty": {"cases": {"none": {}, "r1": {"regularization.r1": {"low": 0.01, "high": 1.0, "log": True}}}},
    },
}
"""Every kind of part, over networks that train quickly."""

IMAGES = 480
"""A budget with rungs after 72 and 216 images."""


def trials_of(folder: Path, name: str | None = None) -> list[FrozenTrial]:
    """Every trial of the study in a folder, also those that failed; ``name`` if it is not the folder's."""
    return optuna.load_study(study_name=name or folder.name, storage=Journal(folder).backend).trials


@pytest.fixture(scope="session")
def small_digits(digits: Path) -> TrainingImages:
    """512 real digits, uint8 [512, 16, 16, 1], whose judge is in the cache."""
    data = load_images(str(digits), DataConfig(resolution=16, channels=1, fit="crop"))
    train_judge(data, epochs=2).save(judges_folder() / f"{data.fingerprint}.pt")
    return data


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(SPACE, sort_keys=False))
    return path


@pytest.fixture
def tune_arguments(small_digits: TrainingImages, space_file: Path, digits: Path) -> Callable[..., list[str]]:
    """The command line of a small study; later arguments override earlier ones."""

    def arguments(out: Path, *more: str) -> list[str]:
        return ["tune", str(space_file), f"--data={digits}", f"--out={out}", f"--images={IMAGES}", "--seeds=1", *more]

    return arguments


@pytest.fixture
def tune(train: Callable[..., None], tune_arguments: Callable[..., list[str]]) -> Callable[..., None]:
    """Runs ``tune`` in this process."""

    def run(out: Path, *more: str) -> None:
        train(*tune_arguments(out, *more))

    return run
