"""The contenders: three rivals whose rates are constant, and the preset that ships for the data set."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.training.rivals import fastgan, tutorial
from benchmarks.training.rivals.cases import Case, training_images
from benchmarks.training.rivals.contender import SEED, Contender, Model, ModelContender
from benchmarks.training.rivals.fastgan import FastGan
from benchmarks.training.rivals.figment import FigmentContender
from benchmarks.training.rivals.tutorial import Tutorial
from training.config.files import load_config
from training.config.schema import Config
from training.data.split import training_indices

ENDLESS = 10**9
"""A budget in images that no mark reaches."""

PRESET = "preset"
STYLEGAN2_ADA = Path(__file__).with_name("stylegan2-ada.yaml")
_CIFAR = (
    "network.width=512",
    "network.deviation_group=32",
    "batch_size=64",
    "regularization.r1=0.01",
    "regularization.style_mixing=0",
    "regularization.path_length=0",
    "ema.half_lives=[500000]",
)
"""What the authors' code changes at 32 × 32, but for its discriminator without residuals, which this family has not."""


@dataclass(frozen=True)
class Entry:
    """A contender of every data set."""

    name: str
    title: str
    has_budget: bool
    """Whether its schedules end with a budget, so that each mark needs a run of its own."""
    settings: Callable[[Case], dict[str, Any]]
    """Everything that decides a run but its budget: a line of other settings is no result of this entry."""
    start: Callable[[Case, str, int], Contender]
    """Prepares a run on the images of a source, with a budget in images."""


def entries(smoke: bool = False) -> dict[str, Entry]:
    """Returns the contenders by name; with ``smoke``, in sizes whose steps take a moment."""
    narrow = ("network.width=8", "network.max_width=16", "network.deviation_group=4") if smoke else ()
    small = ("batch_size=8", "precision=float32") if smoke else ()

    def stylegan2_ada(case: Case) -> Config:
        labels = f"conditional={str(case.conditional).lower()}"
        data = [f"data.{key}={getattr(case.data, key)}" for key in ("resolution", "channels", "fit")]
        at_32 = _CIFAR if case.data.resolution == 32 else ()
        return load_config(str(STYLEGAN2_ADA), [labels, *data, *at_32, *narrow, *small])

    def preset(case: Case) -> Config:
        # The judges decide outside the clock, and nothing is chosen by a score.
        return load_config(case.preset, [*case.preset_settings, "judge=null", *small])

    contenders = (
        _model_entry(
            "tutorial",
            "PyTorch tutorial's DCGAN",
            Tutorial,
            {
                "batch_size": 8 if smoke else tutorial.BATCH_SIZE,
                "noise_dim": tutorial.NOISE_DIM,
                "width": tutorial.WIDTH,
                "learning_rate": tutorial.LEARNING_RATE,
                "betas": list(tutorial.BETAS),
            },
        ),
        _model_entry(
            "fastgan",
            "FastGAN-like",
            FastGan,
            {
                "batch_size": fastgan.BATCH_SIZE,
                "noise_dim": fastgan.NOISE_DIM,
                "learning_rate": fastgan.LEARNING_RATE,
                "betas": list(fastgan.BETAS),
                "ema_decay": fastgan.EMA_DECAY,
                "diff_augment": list(fastgan.POLICIES),
            },
        ),
        _config_entry("stylegan2-ada", "StyleGAN2-ADA-like", False, stylegan2_ada),
        _config_entry(PRESET, "preset", True, preset),
    )
    return {entry.name: entry for entry in contenders}


def _model_entry(
    name: str, title: str, build: Callable[[int, int, int, int], Model], settings: dict[str, Any]
) -> Entry:
    def start(case: Case, source: str, budget: int) -> Contender:
        data = training_images(case, source)
        images = data.images[training_indices(len(data), case.data.holdout)]
        return ModelContender(build(case.data.resolution, case.data.channels, SEED, settings["batch_size"]), images)

    def all_settings(case: Case) -> dict[str, Any]:
        return settings | {"seed": SEED, "data": case.data.model_dump(mode="json"), "images_of_data": case.images}

    return Entry(name, title, False, all_settings, start)


def _config_entry(name: str, title: str, has_budget: bool, config_of: Callable[[Case], Config]) -> Entry:
    def start(case: Case, source: str, budget: int) -> Contender:
        config = config_of(case)
        least = config.discriminator_steps * config.batch_size
        config = config.model_copy(update={"images": max(budget, least), "seed": SEED})
        return FigmentContender(config, training_images(case, source, config.data))

    def settings(case: Case) -> dict[str, Any]:
        values = config_of(case).model_dump(mode="json", exclude={"images", "about", "pace"})
        return values | {"seed": SEED, "images_of_data": case.images}

    return Entry(name, title, has_budget, settings, start)
