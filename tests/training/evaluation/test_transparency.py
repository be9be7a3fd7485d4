"""Scores of transparent images see what a person sees over any colour, and nothing that is hidden."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from models.transparency import MID_GREY, checkerboard, lay_over, premultiply
from tests.training.sprites import write_sprites
from training.config.schema import DataConfig
from training.data.dataset import TrainingImages, load_images
from training.errors import TrainingError
from training.evaluation.gather import gather
from training.evaluation.inception.weights import Inception
from training.evaluation.judge.network import Judge, load_judge
from training.evaluation.judge.train import train_judge
from training.evaluation.reference import Reference
from training.runs.sampling import image_grid


@pytest.fixture(scope="module")
def sprites(tmp_path_factory: pytest.TempPathFactory) -> TrainingImages:
    folder = write_sprites(tmp_path_factory.mktemp("sprites"), 200)
    return load_images(str(folder), DataConfig(resolution=16, channels=4, fit="crop"))


@pytest.fixture(scope="module")
def judge(sprites: TrainingImages) -> Judge:
    return train_judge(sprites, epochs=1)


def with_hidden_colours(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns images that look the same, with white instead of black below alpha 0."""
    hidden = images.copy()
    hidden[hidden[..., 3] == 0, :3] = 255
    assert (hidden != images).any()
    return hidden


def white_content_on(alpha: int) -> NDArray[np.uint8]:
    """Returns white squares on a margin with this alpha: over white all of it is white, whatever the alpha."""
    images = np.full((64, 16, 16, 4), 255, np.uint8)
    images[:, :4, :, 3] = alpha
    return images


def test_a_judge_of_sprites_is_kept_in_a_file(judge: Judge, tmp_path: Path) -> None:
    judge.save(tmp_path / "judge.pt")
    assert load_judge(tmp_path / "judge.pt").record == judge.record
    assert judge.record.channels == 4
    with pytest.raises(TrainingError, match=r"takes images of 16 × 16 × 4 .* not of 16 × 16 × 3"):
        judge(np.zeros((2, 16, 16, 3), np.uint8))


def test_hidden_colours_do_not_count(judge: Judge, sprites: TrainingImages) -> None:
    images = np.array(sprites.images[:64])
    for one, other in zip(judge(images), judge(with_hidden_colours(images)), strict=True):
        np.testing.assert_array_equal(one, other)
    reference = Reference(sprites, judge)
    seen = [gather([(stream, None)], 64, reference).images for stream in (images, with_hidden_colours(images))]
    assert seen[0] is not None
    assert seen[1] is not None
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(reference.compared_images(9), premultiply(reference.real_images(9)))


def test_a_wrong_alpha_counts_also_where_a_white_background_hides_it(judge: Judge) -> None:
    right, wrong = white_content_on(0), white_content_on(255)
    np.testing.assert_array_equal(lay_over(right, (255, 255, 255)), lay_over(wrong, (255, 255, 255)))
    assert np.abs(judge(right)[0] - judge(wrong)[0]).max() > 0.1
    assert (lay_over(right, MID_GREY) != lay_over(wrong, MID_GREY)).any(), "the networks without alpha see it too"


def test_inception_sees_sprites_over_grey(sprites: TrainingImages) -> None:
    seen: list[torch.Tensor] = []

    class StandIn(nn.Module):
        def forward(self, images: torch.Tensor, **_: bool) -> torch.Tensor:
            seen.append(images)
            return images.float().mean((2, 3))

    Inception(StandIn(), "0" * 64).features(sprites.images[:4])  # type: ignore[arg-type]
    expected = lay_over(sprites.images[:4], MID_GREY).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(seen[0].cpu().numpy(), expected)
    assert (expected[:, :, 0, 0] == 128).all()


def test_pictures_for_people_show_transparency_as_a_checkerboard(sprites: TrainingImages) -> None:
    grid = image_grid(sprites.images[:6], 3)
    assert (grid.mode, grid.size) == ("RGB", (48, 32))
    cell = np.asarray(grid)[16:, 32:]
    np.testing.assert_array_equal(cell, lay_over(sprites.images[5:6], checkerboard(16, 16))[0])
    assert {cell[0, 0, 0], cell[0, 2, 0]} == {255, 204}
    assert isinstance(grid, Image.Image)
