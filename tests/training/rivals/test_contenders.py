"""The contenders train on the same images, and generate what the judges can compare."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.training.rivals.__main__ import main
from benchmarks.training.rivals.cases import CASES, Case, training_images
from benchmarks.training.rivals.contender import ModelContender
from benchmarks.training.rivals.entries import PRESET, entries
from benchmarks.training.rivals.fastgan import FastGan
from benchmarks.training.rivals.judges import opaque
from benchmarks.training.rivals.tutorial import Tutorial
from training.config.schema import DataConfig
from training.data.dataset import load_images
from training.data.split import judge_split
from training.errors import DivergenceError, TrainingError

STEPS = 2


class Stop(Exception):  # noqa: N818
    """Ends an endless run."""


def train(contender: ModelContender, steps: int = STEPS) -> None:
    left = steps

    def after_step() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Stop

    with pytest.raises(Stop):
        contender.train(after_step)


@pytest.mark.parametrize("model", [Tutorial, FastGan])
@pytest.mark.parametrize(("side", "channels"), [(32, 1), (64, 3)])
def test_models_learn_and_generate(model: type[Tutorial | FastGan], side: int, channels: int) -> None:
    images = np.random.RandomState(0).randint(0, 256, (6, side, side, channels), np.uint8)
    networks = model(side, channels, 0, batch_size=4)
    contender, noise = ModelContender(networks, images), torch.randn(4, networks.noise_dim)
    before = networks.generate(noise).detach()
    train(contender)
    assert contender.images_seen == STEPS * 4
    assert not torch.equal(networks.generate(noise), before)
    generated = contender.sample(6)
    assert generated.shape == (6, side, side, channels)
    assert generated.dtype == np.uint8
    np.testing.assert_array_equal(generated, contender.sample(6))


def test_the_tutorials_generator_follows_the_data() -> None:
    """After steps on black images, the tutorial's generator has become darker: the signs of its losses are right."""
    contender = ModelContender(Tutorial(32, 1, 0, batch_size=8), np.zeros((8, 32, 32, 1), np.uint8))
    before = contender.sample(8).mean()
    train(contender, 12)
    assert contender.sample(8).mean() < before - 10


def test_fastgan_reconstructs_what_it_sees() -> None:
    """The reconstruction's loss is that of the image at half its side and of one quadrant."""
    torch.manual_seed(0)
    discriminator = FastGan(64, 3, 0, batch_size=2)._discriminator
    images = torch.rand(2, 3, 64, 64)
    logits, loss = discriminator.with_reconstruction(images)
    assert logits.shape == (2, 25)
    assert loss > 0
    assert discriminator.decode_whole(torch.rand(2, 256, 8, 8)).shape == (2, 3, 32, 32)


def test_nan_is_not_shown_as_black() -> None:
    model = Tutorial(32, 1, 0, batch_size=4)
    next(model._generator.parameters()).data.fill_(float("nan"))
    with pytest.raises(DivergenceError, match="NaN or infinite"):
        ModelContender(model, np.zeros((4, 32, 32, 1), np.uint8)).sample(4)


def test_the_preset_runs_to_its_budget(digits: Path) -> None:
    contender = entries(smoke=True)[PRESET].start(CASES["mnist"], str(digits), 16)
    assert contender.precision == "float32", "of the smoke run; otherwise it is measured"
    steps: list[int] = []
    contender.train(lambda: steps.append(contender.images_seen))
    assert steps == [8, 16]
    assert contender.sample(3).shape == (3, 32, 32, 1)


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_every_contender_has_settings_for_every_case(case: Case) -> None:
    for entry in entries().values():
        settings = entry.settings(case)
        assert "images" not in settings, "the budget is no setting: it follows from the mark and the speed"
        assert settings["data"]["resolution"] == case.data.resolution
        assert settings["data"]["holdout"] == case.data.holdout


def test_cases_of_one_source_have_one_judge() -> None:
    """Judges are kept by source, so these must see the same images."""
    assert CASES["cifar10"].source == CASES["cifar10-2000"].source
    assert CASES["cifar10"].data == CASES["cifar10-2000"].data


def test_stylegan2_ada_has_the_papers_sizes() -> None:
    small, large = (entries()["stylegan2-ada"].settings(CASES[name]) for name in ("cifar10", "emoji"))
    assert (small["network"]["width"], small["batch_size"], small["regularization"]["r1"]) == (512, 64, 0.01)
    assert (large["network"]["width"], large["batch_size"], large["regularization"]["r1"]) == (256, 32, 0.0256)
    assert small["augmentation"]["adaptive"]["target"] == large["augmentation"]["adaptive"]["target"] == 0.6


def test_a_cut_is_of_images_that_no_judge_compares_with(digits: Path) -> None:
    case = Case("cut", "", "mnist", DataConfig(resolution=32, channels=1, fit="pad"), True, "digits", images=100)
    whole, cut = load_images(str(digits), case.data), training_images(case, str(digits))
    chosen = sorted(judge_split(len(whole))[1][:100])
    assert len(cut) == 100
    np.testing.assert_array_equal(cut.images, whole.images[chosen])
    assert whole.labels is not None
    assert cut.labels is not None
    np.testing.assert_array_equal(cut.labels, whole.labels[chosen])


def test_a_cut_needs_enough_images(digits: Path) -> None:
    with pytest.raises(TrainingError, match=r"holds 512 images, .* give the whole data set, 4000 images or more"):
        training_images(CASES["cifar10-2000"], str(digits))


def test_a_preset_of_another_size_is_not_compared(digits: Path) -> None:
    with pytest.raises(TrainingError, match=r"trains on images of side 16 .* set data.resolution"):
        training_images(CASES["mnist"], str(digits), DataConfig(resolution=16, channels=1, fit="crop"))


def test_transparent_images_are_judged_over_white() -> None:
    images = np.zeros((1, 2, 2, 4), np.uint8)
    images[0, 0, 0] = (10, 20, 30, 255)
    laid = opaque(images)
    assert laid.shape == (1, 2, 2, 3)
    assert laid[0, 0, 0].tolist() == [10, 20, 30]
    assert laid[0, 1, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "o", "--only", "mnist"], "mnist needs --mnist"),
        (["--mnist", "m"], "--out says where"),
        (["--out", "o", "--only", "mnits"], "--only takes names of mnist, cifar10"),
        (["--out", "o", "--contenders", "gan"], "--contenders takes names of tutorial"),
        (["--out", "o", "--minutes", "0"], "a number of minutes above 0"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err
