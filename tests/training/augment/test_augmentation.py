"""Augmentations follow the papers, leave the rest unchanged, and have first and second derivatives."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from training.augment.augmentation import adaptive_augment, diff_augment, flip
from training.objective.regularizers import zero_centred_penalty
from training.parallel.rng import BatchRng

CPU = torch.device("cpu")

Augmentation = Callable[[Tensor, BatchRng], Tensor]

AUGMENTATIONS: dict[str, Augmentation] = {
    "flip": flip,
    "color": lambda images, rng: diff_augment(images, ["color"], rng),
    "translation": lambda images, rng: diff_augment(images, ["translation"], rng),
    "cutout": lambda images, rng: diff_augment(images, ["cutout"], rng),
    "all of diff_augment": lambda images, rng: diff_augment(images, ["color", "translation", "cutout"], rng),
    "adaptive": lambda images, rng: adaptive_augment(images, 0.7, rng),
}

# The transformations of ``adaptive_augment`` in the order in which they are chosen.
GEOMETRY = ("flip", "turn", "shift", "scale", "stretch", "move", "rotate before", "rotate after")
COLOUR = ("brightness", "contrast", "luma flip", "hue", "saturation")


class ChoosingRng(BatchRng):
    """Chooses the named transformations of ``adaptive_augment`` and no others; their amounts stay random."""

    def __init__(self, *names: str, chooser: float = 0.0) -> None:
        super().__init__(0, CPU)
        self._names, self._chooser = names, chooser

    def uniform(self, count: int, *shape: int) -> Tensor:
        for group in (GEOMETRY, COLOUR):
            if shape == (len(group),):
                return torch.tensor([self._chooser if name in self._names else 1.0 for name in group]).expand(count, -1)
        return super().uniform(count, *shape)


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def augment_with(*names: str, images: Tensor) -> Tensor:
    return adaptive_augment(images, 0.5, ChoosingRng(*names))


def assert_each_is_one_of(augmented: Tensor, candidates: Sequence[Tensor]) -> None:
    """Asserts that every image equals one of its candidates, and that every candidate occurs."""
    distance = torch.stack([(augmented - candidate).abs().amax((1, 2, 3)) for candidate in candidates])
    assert distance.amin(0).max() < 1e-4
    assert set(distance.argmin(0).tolist()) == set(range(len(candidates)))


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_keep_their_shape_and_vary(name: str, channels: int) -> None:
    images = noise(1, channels, 12, 12).expand(16, -1, -1, -1)
    augmented = AUGMENTATIONS[name](images, BatchRng(1, CPU))
    assert augmented.shape == images.shape
    assert augmented.dtype == torch.float32
    assert torch.isfinite(augmented).all()
    assert len(torch.unique(augmented, dim=0)) > 1, "random numbers are drawn per image"


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_processes_that_share_a_batch_augment_it_as_one_would(name: str) -> None:
    images = noise(8, 3, 12, 12)
    whole = AUGMENTATIONS[name](images, BatchRng(7, CPU))
    shares = [AUGMENTATIONS[name](images[4 * rank :][:4], BatchRng(7, CPU, rank, processes=2)) for rank in (0, 1)]
    torch.testing.assert_close(torch.cat(shares), whole)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_global_random_numbers_are_not_used(name: str) -> None:
    images = noise(8, 3, 12, 12)
    before = torch.get_rng_state()
    first = AUGMENTATIONS[name](images, BatchRng(7, CPU))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(AUGMENTATIONS[name](images, BatchRng(7, CPU)), first)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_memory_layout_does_not_matter(name: str) -> None:
    """The loop's images are in channels last."""
    images = noise(4, 3, 12, 12)
    last = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        AUGMENTATIONS[name](last, BatchRng(3, CPU)), AUGMENTATIONS[name](images, BatchRng(3, CPU))
    )


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_gradients_reach_the_images_as_finite_differences_say(name: str) -> None:
    images = noise(4, 3, 12, 12).requires_grad_()
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))

    def value(images: Tensor) -> Tensor:
        return AUGMENTATIONS[name](images, BatchRng(5, CPU)).square().sum()

    (gradient,) = torch.autograd.grad(value(images), [images])
    with torch.no_grad():
        difference = value(images + 0.01 * direction) - value(images - 0.01 * direction)
    assert (gradient * direction).sum().item() == pytest.approx(difference.item() / 0.02, rel=1e-2)


def assert_a_gradient_penalty_differentiates_through(augmentation: Augmentation, images: Tensor) -> None:
    """Of R1 of D ∘ augmentation: the derivative by D's weights is that of finite differences."""
    weight = torch.randn((2, images.shape[1], 3, 3), generator=torch.Generator().manual_seed(1)).requires_grad_()
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(2))

    def penalty(weight: Tensor) -> Tensor:
        def discriminator(images: Tensor) -> Tensor:
            return conv2d(augmentation(images, BatchRng(5, CPU)), weight).tanh().sum((1, 2, 3))

        return zero_centred_penalty(discriminator, images)

    (derivative,) = torch.autograd.grad(penalty(weight), [weight])
    difference = penalty(weight + 2e-3 * direction) - penalty(weight - 2e-3 * direction)
    assert (derivative * direction).sum().item() == pytest.approx(difference.item() / 4e-3, rel=1e-2)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_gradient_penalty_differentiates_through_it(name: str) -> None:
    assert_a_gradient_penalty_differentiates_through(AUGMENTATIONS[name], noise(4, 3, 12, 12))


def test_flip_mirrors_half_of_the_images() -> None:
    images = noise(400, 1, 4, 4)
    flipped = flip(images, BatchRng(0, CPU))
    assert_each_is_one_of(flipped, [images, images.flip(3)])
    assert 160 < (flipped != images).any(3).any(2).sum() < 240


def test_no_policy_changes_nothing() -> None:
    images = noise(4, 3, 8, 8)
    assert torch.equal(diff_augment(images, [], BatchRng(0, CPU)), images)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 20)])
def test_translation_shifts_in_zeros_by_up_to_an_eighth(height: int, width: int) -> None:
    images = noise(300, 1, height, width)
    limit = math.floor(height / 8 + 0.5), math.floor(width / 8 + 0.5)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (limit[0],) * 2, (limit[1],) * 2))
    candidates = [
        torch.from_numpy(padded[:, :, row : row + height, column : column + width])
        for row in range(2 * limit[0] + 1)
        for column in range(2 * limit[1] + 1)
    ]
    assert_each_is_one_of(diff_augment(images, ["translation"], BatchRng(0, CPU)), candidates)


@pytest.mark.parametrize("side", [8, 9, 10])
def test_cutout_blanks_a_square_of_half_the_side_wherever_its_centre_lies(side: int) -> None:
    """Exactly the positions that the paper's code can draw occur: centres cover the whole image."""
    length = math.floor(side / 2 + 0.5)
    candidates = []
    for row in range(side + 1 - length % 2):
        for column in range(side + 1 - length % 2):
            image = torch.ones(1, 1, side, side)
            top, left = row - length // 2, column - length // 2
            image[:, :, max(top, 0) : top + length, max(left, 0) : left + length] = 0
            candidates.append(image)
    augmented = diff_augment(torch.ones(1000, 1, side, side), ["cutout"], BatchRng(0, CPU))
    assert_each_is_one_of(augmented, candidates)


def test_color_of_diff_augment_is_brightness_then_saturation_then_contrast() -> None:
    images = noise(50, 3, 6, 6)
    brightness, saturation, contrast = BatchRng(4, CPU).uniform(50, 3, 1, 1, 1).unbind(1)
    expected = images + brightness - 0.5
    grey = expected.mean(1, True)
    expected = grey + (expected - grey) * saturation * 2
    mean = expected.mean((1, 2, 3), True)
    expected = mean + (expected - mean) * (contrast + 0.5)
    augmented = diff_augment(images, ["color"], BatchRng(4, CPU))
    torch.testing.assert_close(augmented, expected)
    shift = augmented.mean((1, 2, 3)) - images.mean((1, 2, 3))
    assert shift.abs().max() <= 0.5, "saturation and contrast keep an image's mean"


def test_probability_zero_returns_images_bit_for_bit() -> None:
    images = noise(16, 3, 12, 12)
    for probability in (0.0, torch.tensor(0.0)):
        assert torch.equal(adaptive_augment(images, probability, BatchRng(0, CPU)), images)


def test_a_probability_may_be_a_tensor_or_a_number() -> None:
    images = noise(16, 3, 12, 12)
    number, tensor = (adaptive_augment(images, p, BatchRng(0, CPU)) for p in (0.5, torch.tensor(0.5)))
    assert torch.equal(number, tensor)
    assert not torch.equal(number, images)


@pytest.mark.parametrize("name", GEOMETRY + COLOUR)
def test_each_transformation_has_the_given_probability(name: str) -> None:
    """Both rotations together have probability p: each has 1 - √(1 - p), which is 0.2 for p = 0.36."""
    images = noise(8, 3, 16, 16)
    likely = 0.2 if name.startswith("rotate") else 0.36
    assert not torch.equal(adaptive_augment(images, 0.36, ChoosingRng(name, chooser=likely - 0.01)), images)
    assert torch.equal(adaptive_augment(images, 0.36, ChoosingRng(name, chooser=likely + 0.01)), images)


def test_adaptive_flips_and_quarter_turns() -> None:
    images = noise(64, 3, 8, 8)
    assert_each_is_one_of(augment_with("flip", images=images), [images, images.flip(3)])
    turns = [images.rot90(quarters, (2, 3)) for quarters in range(4)]
    assert_each_is_one_of(augment_with("turn", images=images), turns)


def test_adaptive_shifts_are_whole_pixels_up_to_an_eighth() -> None:
    images = noise(400, 1, 16, 24)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (2, 2), (3, 3)), mode="symmetric")
    places = [(row, column) for row in range(5) for column in range(7)]
    candidates = [torch.from_numpy(padded[:, :, row : row + 16, column : column + 24]) for row, column in places]
    assert_each_is_one_of(augment_with("shift", images=images), candidates)


def slopes(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns an image's slope to the right and downwards at its centre [N], and its value there [N]."""
    centre = images[:, 0, 14:18, 14:18]
    return centre.diff(dim=2).mean((1, 2)), centre.diff(dim=1).mean((1, 2)), centre.mean((1, 2))


def test_adaptive_scaling_rotation_stretching_and_moving_have_the_papers_spreads() -> None:
    """Measured by the change of a slope of 1 per pixel to the right, at the centre of the image."""
    ramp = (torch.arange(32.0) - 15.5).expand(500, 1, 32, 32)

    right, down, centre = slopes(augment_with("scale", images=ramp))
    assert right.log2().std().item() == pytest.approx(0.2, rel=0.15)
    assert right.log2().mean().abs() < 0.05
    assert max(down.abs().max(), centre.abs().max()) < 1e-4

    for name in ("rotate before", "rotate after"):
        right, down, centre = slopes(augment_with(name, images=ramp))
        torch.testing.assert_close(right.hypot(down), torch.ones(500), atol=1e-3, rtol=0)
        assert torch.atan2(down, right).std().item() == pytest.approx(2 * math.pi / math.sqrt(12), rel=0.1)

    right, down, centre = slopes(augment_with("stretch", images=ramp))
    assert right.log2().std().item() == pytest.approx(0.2, rel=0.15)
    upright, _, _ = slopes(augment_with("stretch", images=ramp.mT).mT)
    torch.testing.assert_close(upright * right, torch.ones(500), atol=1e-3, rtol=0)

    right, _, centre = slopes(augment_with("move", images=ramp))
    assert centre.std().item() == pytest.approx(32 / 8, rel=0.15)


def test_adaptive_colours_have_the_papers_spreads() -> None:
    images = 0.4 * noise(1, 3, 2, 2).expand(500, -1, -1, -1)
    luma = images.mean(1, True)
    chroma = images - luma

    shift = augment_with("brightness", images=images) - images
    assert shift.std((1, 2, 3)).max() < 1e-6
    assert shift.mean((1, 2, 3)).std().item() == pytest.approx(0.2, rel=0.15)

    factor = augment_with("contrast", images=images) / images
    assert factor.std((1, 2, 3)).max() < 1e-5
    assert factor.mean((1, 2, 3)).log2().std().item() == pytest.approx(0.5, rel=0.15)

    assert_each_is_one_of(augment_with("luma flip", images=images), [images, chroma - luma])

    turned = augment_with("hue", images=images)
    torch.testing.assert_close(turned.mean(1, True), luma)
    torch.testing.assert_close((turned - luma).norm(dim=1), chroma.norm(dim=1))
    cosine = ((turned - luma) * chroma).sum((1, 2, 3)) / chroma.square().sum((1, 2, 3))
    assert cosine.mean().abs() < 0.1, "hues are uniform over the circle"

    factor = (augment_with("saturation", images=images) - luma) / chroma
    assert factor.std((1, 2, 3)).max() < 1e-3
    assert factor.mean((1, 2, 3)).log2().std().item() == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("name", ["hue", "saturation"])
def test_grey_images_have_neither_hue_nor_saturation(name: str) -> None:
    images = noise(8, 1, 4, 4)
    torch.testing.assert_close(augment_with(name, images=images), images)
    assert not torch.allclose(augment_with("contrast", images=images), images)


def test_autocast_around_changes_nothing() -> None:
    """Positions rounded to bfloat16 would be off by pixels."""
    images = noise(8, 3, 32, 32)
    alone = adaptive_augment(images, 0.7, BatchRng(0, CPU))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(adaptive_augment(images, 0.7, BatchRng(0, CPU)), alone)
        rounded = adaptive_augment(images.bfloat16(), 0.7, BatchRng(0, CPU))
    torch.testing.assert_close(rounded, alone, atol=0.05, rtol=0.05)
