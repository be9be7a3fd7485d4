"""The sliced Wasserstein distance compares patches on every level, independent of brightness and order."""

import numpy as np
import pytest
import torch

from training.errors import TrainingError
from training.evaluation.metrics import sliced_wasserstein as module
from training.evaluation.metrics.sliced_wasserstein import sliced_wasserstein

NOISE = np.random.RandomState(0).randint(0, 256, (64, 32, 32, 3), dtype=np.uint8)
MORE_NOISE = np.random.RandomState(1).randint(0, 256, (64, 32, 32, 3), dtype=np.uint8)
SMOOTH = np.repeat(np.repeat(NOISE[:, ::4, ::4], 4, axis=1), 4, axis=2)


def test_in_one_dimension_it_is_the_area_between_the_distributions() -> None:
    """For shifted copies: the shift along each direction."""
    random = np.random.RandomState(0)
    patches, shift, directions = (random.randn(*shape) for shape in ((500, 6), (6,), (40, 6)))
    shifted = random.permutation(patches) + shift
    distance = module._distance(*(torch.from_numpy(array) for array in (patches, shifted, directions)))
    assert distance == pytest.approx(np.abs(directions @ shift).mean())


@pytest.mark.parametrize("height", [16, 32])
def test_the_pyramid_adds_up_to_the_image(height: int) -> None:
    """Burt & Adelson 1983: each band is the difference from the next level, doubled."""
    images = torch.from_numpy(NOISE[:4, :height].astype(np.float32)).permute(0, 3, 1, 2)
    rebuilt = module._band(images, 0, last=False) + module._double(module._band(images, 1, last=True))
    torch.testing.assert_close(rebuilt, images, rtol=0, atol=1e-3)


def test_the_blur_is_the_binomial_filter_with_mirrored_edges() -> None:
    image = np.random.RandomState(0).rand(6, 9)
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    padded = np.pad(image, 2, mode="reflect")
    expected = [[(padded[y : y + 5, x : x + 5] * kernel).sum() for x in range(9)] for y in range(6)]
    blurred = module._blur(torch.from_numpy(image).float()[None, None])
    np.testing.assert_allclose(blurred[0, 0], expected, rtol=1e-5)


def test_a_flat_image_has_no_bands() -> None:
    flat = torch.full((1, 1, 32, 32), 255.0)
    assert not module._band(flat, 0, last=False).any()
    assert (module._band(flat, 1, last=True) == 255).all()


def test_patches_are_cut_from_the_images_and_normalised_by_channel() -> None:
    columns = np.broadcast_to(np.arange(16, dtype=np.uint8)[:, None], (3, 16, 16, 1))
    images = np.concatenate([columns, 5 * columns + 100], axis=3)
    patches = module._patches(images, 0, True, np.random.RandomState(0)).numpy().reshape(3 * 128, 2, 7, 7)
    np.testing.assert_allclose(patches.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(patches.std(axis=(0, 2, 3)), 1, rtol=1e-4)
    np.testing.assert_allclose(patches[:, 0], patches[:, 1], atol=1e-5)
    steps = np.diff(patches[:, 0], axis=2)
    np.testing.assert_allclose(steps, steps[0, 0, 0], rtol=1e-3)
    assert len(np.unique(np.round(patches[:, 0, 0, 0], 3))) == 10, "every valid position is drawn"


@pytest.mark.parametrize(("side", "levels"), [(8, [8]), (16, [16]), (28, [28]), (32, [32, 16]), (64, [64, 32, 16])])
def test_levels_halve_down_to_sixteen_pixels(side: int, levels: list[int]) -> None:
    images = np.random.RandomState(0).randint(0, 256, (2, side, side, 1), dtype=np.uint8)
    result = sliced_wasserstein(images, images)
    assert list(result.levels) == levels
    assert result.mean == pytest.approx(np.mean(list(result.levels.values())))


def test_each_level_sees_its_own_scale() -> None:
    """Pixels shuffled within blocks of two leave the coarse level nearly as it was."""
    fine = SMOOTH.reshape(64, 16, 2, 16, 2, 3).copy()
    fine[:, :, 0], fine[:, :, 1] = np.minimum(fine[:, :, 0], 215) + 40, np.maximum(fine[:, :, 1], 40) - 40
    floor = sliced_wasserstein(SMOOTH[:32], SMOOTH[32:])
    shuffled = sliced_wasserstein(SMOOTH[:32], fine.reshape(SMOOTH.shape)[32:])
    assert shuffled.levels[32] > 5 * floor.levels[32]
    assert shuffled.levels[16] < 2 * floor.levels[16]


def test_equal_distributions_score_below_different_ones() -> None:
    assert sliced_wasserstein(NOISE, MORE_NOISE).levels[32] < sliced_wasserstein(NOISE, SMOOTH).levels[32] / 2


def test_brightness_and_contrast_do_not_count() -> None:
    dim = NOISE // 2 + 64
    assert sliced_wasserstein(NOISE, dim).mean == pytest.approx(sliced_wasserstein(NOISE, NOISE).mean, rel=0.1)


def test_only_the_seed_matters_and_memory_is_bounded_by_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sliced_wasserstein(NOISE, SMOOTH, seed=3)
    assert whole == sliced_wasserstein(NOISE, SMOOTH, seed=3)
    assert whole != sliced_wasserstein(NOISE, SMOOTH, seed=4)
    sizes = []
    band = module._band
    monkeypatch.setattr(module, "_BATCH_VALUES", 10 * 32 * 32 * 3)
    monkeypatch.setattr(module, "_band", lambda images, *rest: sizes.append(len(images)) or band(images, *rest))
    assert sliced_wasserstein(NOISE, SMOOTH, seed=3).mean == pytest.approx(whole.mean, rel=0.1)
    assert max(sizes) == 10


def test_sides_of_different_length_and_beyond_the_limit_are_sampled() -> None:
    """A random sample, not the first images."""
    by_class = np.concatenate([NOISE, SMOOTH])
    mixed = np.random.RandomState(0).permutation(by_class)
    assert sliced_wasserstein(mixed, by_class, limit=48).mean < sliced_wasserstein(mixed, NOISE).mean / 2
    few = sliced_wasserstein(NOISE, MORE_NOISE[:20])
    assert few.levels[32] < sliced_wasserstein(NOISE, SMOOTH[:20]).levels[32]


def test_constant_images_give_finite_distances() -> None:
    black = np.zeros((4, 16, 16, 1), np.uint8)
    assert sliced_wasserstein(black, black).mean == 0
    assert np.isfinite(sliced_wasserstein(black, NOISE[:4, :16, :16, :1]).mean)


def test_bad_input_is_rejected() -> None:
    with pytest.raises(TrainingError, match=r"real images must be uint8 of shape \[N, H, W, C\], not float64"):
        sliced_wasserstein(NOISE / 255, NOISE)
    with pytest.raises(TrainingError, match="32 × 32 × 3 and generated ones of 32 × 32 × 1"):
        sliced_wasserstein(NOISE, NOISE[..., :1])
    with pytest.raises(TrainingError, match="at least 2 generated images, not 1"):
        sliced_wasserstein(NOISE, NOISE[:1])
    with pytest.raises(TrainingError, match="images of 7 pixels a side, not 6 × 32 × 3"):
        sliced_wasserstein(NOISE[:, :6], NOISE[:, :6])
