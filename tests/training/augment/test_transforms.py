"""Geometry against NumPy, colour against its definition, and derivatives of both orders against finite differences."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from training.augment.resampling import resample
from training.augment.transforms import mirror, recolour, rotation, scaling, translation, warp

GREY = torch.tensor([1.0, 1, 1]) / math.sqrt(3)


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def every(value: float) -> Tensor:
    """Returns one amount for both images of a batch."""
    return torch.full((2,), float(value))


@pytest.fixture
def images() -> Tensor:
    return noise(2, 3, 8, 8)


def test_mirror_is_fliplr_of_only_the_chosen_images(images: Tensor) -> None:
    warped = warp(images, mirror(torch.tensor([1.0, 0.0])))
    torch.testing.assert_close(warped[0], images[0].flip(2))
    torch.testing.assert_close(warped[1], images[1])


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_quarter_turns_are_rot90(images: Tensor, quarters: int) -> None:
    warped = warp(images, rotation(every(quarters * math.pi / 2)))
    expected = torch.from_numpy(np.rot90(images.numpy(), quarters, (2, 3)).copy())
    torch.testing.assert_close(warped, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("x", "y"), [(3, 0), (0, -2), (-1, 2)])
@pytest.mark.parametrize("side", [(8, 8), (6, 10)])
def test_whole_translations_mirror_at_the_edges(x: int, y: int, side: tuple[int, int]) -> None:
    images = noise(2, 1, *side)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), mode="symmetric")
    expected = torch.from_numpy(padded[:, :, 3 - y : 3 - y + side[0], 3 - x : 3 - x + side[1]])
    torch.testing.assert_close(warp(images, translation(every(x), every(y))), expected, atol=1e-5, rtol=0)


def test_a_shift_by_half_a_pixel_is_the_mean_of_two(images: Tensor) -> None:
    warped = warp(images, translation(every(0.5), every(0)))
    torch.testing.assert_close(warped[..., 1:], (images[..., 1:] + images[..., :-1]) / 2)


def test_scaling_stretches_each_side_by_its_own_factor() -> None:
    """A slope of 1 a pixel becomes one of ½ across an image made twice as wide; its rows stay as they were."""
    slope = torch.arange(8.0).expand(2, 1, 8, 8)
    wide = warp(slope, scaling(every(2), every(1)))
    torch.testing.assert_close(wide[..., 1:].diff(dim=3), torch.full((2, 1, 8, 6), 0.5))
    high = warp(slope, scaling(every(1), every(2)))
    torch.testing.assert_close(high, slope)


def test_products_transform_from_left_to_right(images: Tensor) -> None:
    one, other = rotation(every(math.pi / 2)), translation(every(2), every(0))
    step_by_step = warp(warp(images, one), other)
    torch.testing.assert_close(warp(images, one @ other), step_by_step, atol=1e-5, rtol=0)


def test_luma_changes_only_the_grey_part(images: Tensor) -> None:
    """Luma -1 inverts an image's grey part and keeps its chroma, which is the rest."""
    recoloured = recolour(images, every(-1), every(1), every(0.0))
    torch.testing.assert_close(recoloured.mean(1), -images.mean(1))
    torch.testing.assert_close(recoloured - recoloured.mean(1, True), images - images.mean(1, True))


def test_hue_keeps_greys_and_lengths_and_turns_red_to_green(images: Tensor) -> None:
    turned = recolour(images, every(1), every(1), every(1.2))
    torch.testing.assert_close(turned.mean(1), images.mean(1))
    torch.testing.assert_close(turned.norm(dim=1), images.norm(dim=1))
    red, green = torch.eye(3)[:2].view(2, 1, 3, 1, 1).expand(-1, 2, -1, 4, 4)
    torch.testing.assert_close(recolour(red, every(1), every(1), every(2 * math.pi / 3)), green)
    torch.testing.assert_close(recolour(images, every(1), every(1), every(2 * math.pi)), images, atol=1e-6, rtol=0)


@pytest.mark.parametrize("hue", [0.0, 0.7, -2.5])
def test_colour_is_the_product_of_the_papers_matrices(images: Tensor, hue: float) -> None:
    """Contrast c, the luma flip's reflection, Rodrigues' rotation and saturation s (Karras et al. 2020, appendix B)."""
    contrast, saturation = 1.3, 0.4
    along = torch.outer(GREY, GREY)
    cross = torch.linalg.cross(torch.eye(3), GREY.expand(3, 3)).T.neg()
    turn = math.cos(hue) * torch.eye(3) + math.sin(hue) * cross + (1 - math.cos(hue)) * along
    matrix = (along + saturation * (torch.eye(3) - along)) @ turn @ (torch.eye(3) - 2 * along) * contrast
    expected = torch.einsum("ij,njhw->nihw", matrix, images)
    recoloured = recolour(images, every(-contrast), every(contrast * saturation), every(hue))
    torch.testing.assert_close(recoloured, expected)


def test_grey_images_have_only_luma() -> None:
    grey = noise(2, 1, 4, 4)
    torch.testing.assert_close(recolour(grey, every(-1.5), every(3), every(1)), -1.5 * grey)
    in_colour = recolour(grey.expand(-1, 3, -1, -1), every(-1.5), every(3), every(1))
    torch.testing.assert_close(in_colour, (-1.5 * grey).expand(-1, 3, -1, -1))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_resampling_has_pytorchs_values_and_first_derivative(layout: torch.memory_format) -> None:
    grid = 1.5 * noise(2, 5, 5, 2)
    images = noise(2, 3, 5, 5).to(memory_format=layout).requires_grad_()
    theirs = grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    ours = resample(images, grid)
    assert torch.equal(ours, theirs)
    weights = noise(2, 3, 5, 5).to(memory_format=layout)
    derivatives = [torch.autograd.grad((result * weights).sum(), images)[0] for result in (ours, theirs)]
    torch.testing.assert_close(*derivatives)


def test_resampling_has_derivatives_of_both_orders() -> None:
    images = noise(2, 2, 4, 4).double().requires_grad_()
    grid = 1.5 * noise(2, 4, 4, 2).double()
    assert torch.autograd.gradcheck(lambda x: resample(x, grid), (images,))
    assert torch.autograd.gradgradcheck(lambda x: resample(x, grid), (images,))
    assert torch.autograd.gradgradcheck(lambda x: resample(x, grid).pow(3), (images,))
