"""Augmentations of premultiplied RGBA: colours change as those of opaque images, alpha and what is hidden do not."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from tests.training.augment.test_augmentation import (
    AUGMENTATIONS,
    COLOUR,
    CPU,
    GEOMETRY,
    assert_a_gradient_penalty_differentiates_through,
    augment_with,
    noise,
)
from training.augment.alpha import split_alpha, with_colours
from training.augment.augmentation import diff_augment
from training.parallel.rng import BatchRng


def premultiplied(colour: Tensor, alpha: Tensor) -> Tensor:
    """Returns RGBA in -1 … 1 of straight colours [N, 3, H, W] in -1 … 1 and alpha [N, 1, H, W] in 0 … 1."""
    return torch.cat(((colour + 1) * alpha - 1, 2 * alpha - 1), 1)


def soft(count: int = 32, side: int = 12) -> tuple[Tensor, Tensor]:
    """Returns random straight colours, and alphas of every kind: a third each of 0, of 1, and in between."""
    alpha = (1.5 * noise(count, 1, side, side) + 0.5).clamp(0, 1)
    return noise(count, 3, side, side), alpha


def test_colours_apart_from_alpha_are_straight_colours_times_alpha() -> None:
    colour, alpha = soft()
    images = premultiplied(colour, alpha)
    colours, found = split_alpha(images)
    assert found is not None
    torch.testing.assert_close(found, alpha)
    torch.testing.assert_close(colours, colour * alpha)
    torch.testing.assert_close(with_colours(images, colours), images)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_without_alpha_are_their_colours(channels: int) -> None:
    images = noise(2, channels, 4, 4)
    colours, alpha = split_alpha(images)
    assert colours is images
    assert alpha is None
    assert with_colours(images, colours) is colours


@pytest.mark.parametrize("name", COLOUR)
def test_adaptive_colours_act_on_straight_colours_and_leave_alpha(name: str) -> None:
    colour, alpha = soft()
    augmented = augment_with(name, images=premultiplied(colour, alpha))
    expected = premultiplied(augment_with(name, images=colour), alpha)
    torch.testing.assert_close(augmented, expected, atol=1e-5, rtol=0)
    assert torch.equal(augmented[:, 3], expected[:, 3]), "alpha stays bit for bit"


def test_colours_of_diff_augment_leave_alpha_and_what_is_transparent() -> None:
    images = premultiplied(*soft())
    augmented = diff_augment(images, ["color"], BatchRng(4, CPU))
    assert torch.equal(augmented[:, 3], images[:, 3])
    hidden = images[:, 3:] == -1
    assert (augmented[hidden.expand_as(images)] + 1).abs().max() < 1e-5
    assert (augmented - images)[~hidden.expand_as(images)].abs().max() > 0.3


def test_colours_of_diff_augment_do_not_depend_on_how_much_lies_around() -> None:
    """The mean that contrast keeps is that of what is visible: a sprite's margin is not dark."""
    colour, opaque = noise(16, 3, 6, 6), torch.ones(16, 1, 6, 6)
    alone = diff_augment(premultiplied(colour, opaque), ["color"], BatchRng(4, CPU))
    torch.testing.assert_close(alone[:, :3], diff_augment(colour, ["color"], BatchRng(4, CPU)))
    within = torch.full((16, 4, 12, 12), -1.0)
    within[:, :, 3:9, 3:9] = premultiplied(colour, opaque)
    augmented = diff_augment(within, ["color"], BatchRng(4, CPU))
    torch.testing.assert_close(augmented[:, :, 3:9, 3:9], alone)


@pytest.mark.parametrize("policy", ["translation", "cutout"])
def test_pixels_shifted_in_or_blanked_are_transparent(policy: Literal["translation", "cutout"]) -> None:
    opaque = premultiplied(noise(64, 3, 16, 16), torch.ones(64, 1, 16, 16))
    augmented = diff_augment(opaque, [policy], BatchRng(0, CPU))
    blank = augmented[:, 3:] == -1
    assert blank.any()
    assert (augmented[blank.expand_as(opaque)] == -1).all()
    assert (augmented[:, 3:][~blank] == 1).all()


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("alpha", [-1.0, -1.5])
def test_an_image_without_any_alpha_divides_nothing_by_zero(name: str, alpha: float) -> None:
    """A linear generator draws alphas below 0 too."""
    images = torch.full((4, 4, 12, 12), alpha).requires_grad_()
    augmented = AUGMENTATIONS[name](images, BatchRng(3, CPU))
    (gradient,) = torch.autograd.grad(augmented.square().sum(), images)
    assert augmented.isfinite().all()
    assert gradient.isfinite().all()
    assert augmented.abs().max() < 5


@pytest.mark.parametrize("name", GEOMETRY)
def test_geometry_never_makes_a_colour_brighter_than_its_alpha(name: str) -> None:
    """Resampled straight, the colours below alpha 0 would bleed into the edges."""
    augmented = augment_with(name, images=premultiplied(*soft()))
    assert (augmented[:, :3] <= augmented[:, 3:] + 1e-5).all()
    assert augmented[:, 3].min() >= -1 - 1e-5


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_memory_layout_does_not_matter(name: str) -> None:
    images = premultiplied(*soft(4))
    last = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        AUGMENTATIONS[name](last, BatchRng(3, CPU)), AUGMENTATIONS[name](images, BatchRng(3, CPU))
    )


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_gradient_penalty_differentiates_through_it(name: str) -> None:
    assert_a_gradient_penalty_differentiates_through(AUGMENTATIONS[name], premultiplied(*soft(4)))
