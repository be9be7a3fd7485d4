"""A folder of transparent sprites becomes a bundle of RGBA: trained, interrupted, scored and exported."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from models.bundle import read_bundle
from models.noise import noise_for_seeds
from tests.training.loop.test_resume import copy_as_if_killed
from tests.training.sprites import SHAPES, write_sprites
from tests.training.tiny_runs import FAMILIES, OBJECTIVES, TINY, arguments, assert_same_weights
from training.evaluation.target import open_target
from training.runs.checkpoints import checkpoints

Train = Callable[..., None]

SETTINGS = arguments(
    *TINY,
    *FAMILIES["dcgan"],
    *OBJECTIVES["non_saturating"],
    "data.channels=4",
    "augmentation.diff_augment=[color,translation,cutout]",
    "generator_optimizer.learning_rate=0.01",
    "ema.half_lives=[16]",
)


@pytest.fixture(scope="module")
def sprites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sprites(tmp_path_factory.mktemp("data") / "sprites", 200)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, train: Train, sprites: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "sprites"
    train("fit", "digits", "--data", sprites, "--out", out, *SETTINGS)
    return out


def test_its_pictures_show_a_checkerboard(run: Path) -> None:
    for picture in (run / "reals.png", run / "samples" / "000000000128.png"):
        image = Image.open(picture)
        assert image.mode == "RGB"
    edge = np.asarray(Image.open(run / "reals.png"))[0, :4, 0]
    assert edge.tolist() == [255, 255, 204, 204], "a sprite's edge is transparent"


def test_it_resumes_bit_for_bit(run: Path, tmp_path: Path, train: Train) -> None:
    copy_as_if_killed(run, tmp_path / "killed", 64)
    train("resume", tmp_path / "killed")
    assert_same_weights(run, tmp_path / "killed")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_its_bundle_draws_rgba(run: Path, tmp_path: Path, train: Train, precision: str) -> None:
    train("export", run, "--to", tmp_path, "--name", "sprites", "--precision", precision)
    bundle = read_bundle(tmp_path / "sprites" / "1")
    assert bundle.card.image.model_dump() == {"height": 16, "width": 16, "channels": 4}
    assert bundle.card.labels == SHAPES
    assert Image.open(tmp_path / "sprites" / "1" / "samples.png").mode == "RGB"
    session = onnxruntime.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
    noise, label = noise_for_seeds(range(16), bundle.card.noise_dim), np.arange(16) % 2
    (images,) = session.run(None, {"noise": noise, "label": label, "truncation": np.ones(16, np.float32)})
    assert (images.dtype, images.shape) == (np.uint8, (16, 16, 16, 4))
    assert len(np.unique(images[..., 3])) > 10, "some is more transparent than other"
    assert not images[images[..., 3] == 0].any()
    expected = open_target(run).sample(noise, label)
    assert np.abs(images[..., 3].astype(int) - expected[..., 3]).max() <= (1 if precision == "fp32" else 2)


def test_its_bundle_is_scored(run: Path, sprites: Path, tmp_path: Path, train: Train) -> None:
    train("export", run, "--to", tmp_path, "--name", "sprites")
    bundle, out = tmp_path / "sprites" / "1", tmp_path / "scores"
    train("evaluate", bundle, "--data", sprites, "--samples", 200, "--out", out)
    scores = {score.metric: score for score in read_bundle(bundle).card.scores}
    assert scores["fxd"].floor is not None
    assert scores["fxd"].floor < scores["fxd"].value
    assert Image.open(out / "evaluation.png").mode == "RGB"


def test_a_checkpoint_holds_four_channels(run: Path) -> None:
    content = torch.load(checkpoints(run / "checkpoints")[-1], weights_only=True)
    assert content["generator"]["to_image.bias"].shape == (4,)
    assert next(iter(content["discriminator"].values())).shape[1] == 4


def test_a_dry_run_names_the_channels(sprites: Path, train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    train("fit", "digits", "--data", sprites, "--dry-run", *SETTINGS)
    assert "channels: 4" in capsys.readouterr().out
