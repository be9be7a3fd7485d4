"""Laying an image over a background gives what the formula, and Pillow, give, at any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models.transparency import lay_over

levels = st.integers(0, 255)


@given(seed=levels, colour=st.tuples(levels, levels, levels), height=st.integers(1, 40), width=st.integers(1, 40))
def test_it_equals_pillows_composition(seed: int, colour: tuple[int, int, int], height: int, width: int) -> None:
    image = np.random.RandomState(seed).randint(0, 256, (height, width, 4)).astype(np.uint8)
    ground = Image.new("RGBA", (width, height), (*colour, 255))
    composed = np.asarray(Image.alpha_composite(ground, Image.fromarray(image)))
    assert (composed[..., 3] == 255).all()
    assert np.abs(lay_over(image, colour).astype(int) - composed[..., :3]).max() <= 1


@pytest.mark.parametrize("background", [0, 1, 37, 128, 254, 255])
def test_every_level_and_alpha_is_rounded_to_the_nearest(background: int) -> None:
    level, alpha = np.meshgrid(np.arange(256), np.arange(256))
    image = np.stack([level, level, level, alpha], -1).astype(np.uint8)
    exact = (level * alpha + background * (255 - alpha)) / 255
    assert np.array_equal(lay_over(image, (background,) * 3), np.repeat(np.floor(exact + 0.5)[..., None], 3, -1))


def test_opaque_pixels_stay_and_transparent_ones_become_the_background() -> None:
    images = np.random.RandomState(0).randint(0, 256, (2, 3, 5, 4)).astype(np.uint8)
    images[0, ..., 3], images[1, ..., 3] = 255, 0
    laid = lay_over(images, (9, 8, 7))
    assert (laid.shape, laid.dtype) == ((2, 3, 5, 3), np.uint8)
    assert np.array_equal(laid[0], images[0, ..., :3])
    assert (laid[1] == (9, 8, 7)).all()


def test_large_images_are_laid_in_parts() -> None:
    image = np.random.RandomState(0).randint(0, 256, (200, 300, 4)).astype(np.uint8)
    rows = [lay_over(row, (10, 20, 30)) for row in image]
    assert np.array_equal(lay_over(image, (10, 20, 30)), np.stack(rows))


def test_images_are_laid_over_a_picture() -> None:
    state = np.random.RandomState(0)
    images = state.randint(0, 256, (3, 90, 120, 4)).astype(np.uint8)
    picture = state.randint(0, 256, (90, 120, 3)).astype(np.uint8)
    laid = lay_over(images, picture)
    for row, column in ((0, 0), (50, 7), (89, 119)):
        expected = lay_over(images[:, row, column], tuple(picture[row, column].tolist()))
        assert np.array_equal(laid[:, row, column], expected)
