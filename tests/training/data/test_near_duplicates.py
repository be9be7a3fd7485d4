"""Images that nearly equal another one are counted, and images that are merely alike are not."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import training.data.near_duplicates as near_duplicates
from tests.training.sprites import sprite
from training.config.files import load_config
from training.data.checks import warn_few_images, warn_near_duplicates
from training.data.dataset import TrainingImages, load_images
from training.data.near_duplicates import near_duplicate_share

Pixels = NDArray[np.uint8]


def pictures(count: int, side: int = 32) -> Pixels:
    """Returns smooth pictures uint8 [count, side, side, 3], whose brightness varies more than their colours."""
    rng = np.random.default_rng(0)
    noise = (rng.integers(0, 200, (count, 8, 8, 1)) + rng.integers(0, 56, (count, 8, 8, 3))).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in noise])


def resized(image: Pixels) -> Pixels:
    side = len(image)
    smaller = Image.fromarray(image).resize((side * 3 // 4, side * 3 // 4), Image.Resampling.LANCZOS)
    return np.asarray(smaller.resize((side, side), Image.Resampling.LANCZOS))


def compressed(image: Pixels) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file))


def darker(image: Pixels) -> Pixels:
    return (image * 0.7).astype(np.uint8)


def test_pictures_of_their_own_are_not_counted() -> None:
    assert near_duplicate_share(pictures(200)) == 0


@pytest.mark.parametrize("copy", [resized, compressed, darker, np.copy])
def test_copies_are_counted(copy: Callable[[Pixels], Pixels]) -> None:
    originals = pictures(120)
    copied = np.stack([copy(image) for image in originals[:40]])
    assert near_duplicate_share(np.concatenate((originals, copied))) == pytest.approx(0.5, abs=0.02)


def test_large_images_are_compared_at_fewer_pixels() -> None:
    originals = pictures(20, 256)
    assert near_duplicate_share(np.concatenate((originals, np.stack(list(map(resized, originals)))))) == 1
    assert near_duplicate_share(originals) == 0


@pytest.mark.parametrize("black", [False, True])
def test_drawings_in_another_colour_are_counted(black: bool) -> None:
    rng = np.random.default_rng(0)
    originals = np.stack([np.where((one := sprite("disc", 32, rng))[..., 3:] > 0, one, 0) for _ in range(30)])
    if black:
        originals[..., :3] = 0
    copies = originals.copy()
    visible = copies[..., 3] > 0
    copies[visible, :3] = copies[visible, :3] // 2 + 40
    assert near_duplicate_share(np.concatenate((originals, copies))) == 1


def test_few_digits_are_counted(digits: Path) -> None:
    """Straight ones are nearly equal. They must not make a set of digits one that is told of."""
    assert near_duplicate_share(load_images(str(digits), load_config("digits").data).images) < 0.1


def test_a_sample_estimates_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_LOOKED_UP", 100)
    monkeypatch.setattr(near_duplicates, "_CHUNK", 64)
    originals = pictures(300)
    half = np.concatenate((originals, np.stack([resized(image) for image in originals[:100]])))
    assert near_duplicate_share(half) == pytest.approx(0.5, abs=0.05)


def some(images: Pixels) -> TrainingImages:
    return TrainingImages(name="some", fingerprint="0" * 64, images=images, labels=None, label_names=None)


def test_a_run_is_told_what_near_duplicates_mean(capsys: pytest.CaptureFixture[str]) -> None:
    originals = pictures(150)
    warn_near_duplicates(some(originals), 0.1)
    assert capsys.readouterr().err == ""
    both = some(np.concatenate((originals, np.stack([resized(image) for image in originals]))))
    warn_near_duplicates(both, 0.1)
    assert capsys.readouterr().err == (
        "about 300 of 300 images nearly equal another one, in another size, file or colour: images held out have near "
        "copies among those trained on, so copies and nearest_ratio miss memorising. Keep one of each such group\n"
    )
    warn_near_duplicates(both, 0)
    assert "images nearly equal another one, in another size, file or colour: the generator sees few different" in (
        capsys.readouterr().err
    )


def test_who_goes_on_with_few_images_is_told_what_to_expect(capsys: pytest.CaptureFixture[str]) -> None:
    data = some(pictures(100))
    warn_few_images(data)
    assert capsys.readouterr().err == ""
    warn_few_images(dataclasses.replace(data, images=data.images[:99]))
    assert capsys.readouterr().err == (
        "99 images only: of fewer than 100 images a generator learns little but copies. Add images, or start from a "
        "run on similar ones: --init-from RUN\n"
    )
