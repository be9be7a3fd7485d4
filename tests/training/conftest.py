"""A separate cache for decoded data, and settings for runs that take seconds."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from training.cli import app
from training.runs import plots
from training.runs.folder import RunFolder

DIGITS = Path(__file__).parents[1] / "data" / "digits.parquet"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Networks this small are fastest on one thread."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> Path:
    """Returns the path of 512 real MNIST images."""
    return DIGITS


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Returns settings for a run that takes seconds."""
    return [
        "network.width=8",
        "network.noise_dim=16",
        "batch_size=32",
        "images=512",
        "generator_optimizer.learning_rate=0.002",
        "discriminator_optimizer.learning_rate=0.002",
        "judge=null",
        "pace.tick=128",
        "pace.samples=256",
        "pace.checkpoint=256",
    ]


@pytest.fixture(autouse=True, scope="session")
def real_plot_run() -> Iterator[Callable[[RunFolder], None]]:
    """Leaves ``curves.png`` empty: drawing takes as long as the run. Returns the real function, for its own test."""
    real = plots.plot_run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "plot_run", lambda run: (run.path / "curves.png").touch())
        yield real


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def train() -> Callable[..., None]:
    """Returns a function that runs a trainer command in this process and raises its errors."""

    def run(*arguments: str | Path) -> None:
        torch.manual_seed(12345)  # earlier random state must not matter
        app([str(argument) for argument in arguments], standalone_mode=False)

    return run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, train: Callable[..., None], small: list[str]) -> Path:
    """Trains a conditional run on real digits."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    train("fit", "digits", "--data", DIGITS, "--out", out, *(f"--set={setting}" for setting in small))
    return out
