"""Transparent images are laid over colours as a viewer does it, and only what is seen tells them apart."""

import numpy as np
import pytest

from models.transparency import checkerboard, lay_over, premultiply

EVERY = np.stack(np.meshgrid(np.arange(256), np.arange(256)), -1).astype(np.uint8)
"""Every colour with every alpha, uint8 [256, 256, 2]."""
IMAGES = EVERY[None, ..., [0, 0, 0, 1]]


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (10, 200, 77)])
def test_laying_over_rounds_the_exact_mixture(colour: tuple[int, int, int]) -> None:
    share = IMAGES[..., 3:] / 255
    expected = np.rint(share * IMAGES[..., :3] + (1 - share) * np.array(colour))
    laid = lay_over(IMAGES, colour)
    assert laid.dtype == np.uint8
    np.testing.assert_array_equal(laid, expected)


def test_a_background_may_be_a_picture() -> None:
    background = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    images = np.zeros((2, 8, 8, 4), np.uint8)
    images[1] = (9, 8, 7, 255)
    laid = lay_over(images, background)
    np.testing.assert_array_equal(laid[0], background)
    assert (laid[1] == (9, 8, 7)).all()


def test_premultiplied_images_are_the_same_if_they_look_the_same() -> None:
    hidden = np.zeros((2, 4, 4, 4), np.uint8)
    hidden[1, ..., :3] = 200
    assert not premultiply(hidden).any()
    np.testing.assert_array_equal(premultiply(IMAGES)[..., :3], lay_over(IMAGES, (0, 0, 0)))
    np.testing.assert_array_equal(premultiply(IMAGES)[..., 3], IMAGES[..., 3])


def test_images_without_alpha_are_premultiplied_already() -> None:
    for channels in (1, 3):
        images = np.full((1, 2, 2, channels), 9, np.uint8)
        assert premultiply(images) is images


@pytest.mark.parametrize(("height", "width", "square"), [(64, 64, 8), (16, 32, 2), (4, 4, 1)])
def test_a_checkerboard_has_eight_squares_along_its_shorter_side(height: int, width: int, square: int) -> None:
    board = checkerboard(height, width)
    assert (board.shape, board.dtype) == ((height, width, 3), np.uint8)
    assert (board[:square, :square] == 255).all()
    assert (board[:square, square : 2 * square] == 204).all()
    assert (board[square : 2 * square, square : 2 * square] == 255).all()
