"""``data.channels`` 4 keeps transparency of every kind, and no hidden colour reaches an image."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.transparency import lay_over
from tests.training.data.test_pictures import TRANSPARENT, png, saved, swapped_profile
from training.config.files import load_config
from training.config.schema import DataConfig
from training.data.checks import check_data
from training.data.dataset import load_images
from training.data.pictures import open_picture

RGBA = DataConfig(resolution=8, channels=4, fit="crop")


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_transparency_is_kept(kind: str) -> None:
    image, done = open_picture(TRANSPARENT[kind], RGBA, "a.png")
    assert image.mode == "RGBA"
    pixels = np.asarray(image).astype(int)
    assert pixels[:, :3, 3].max() <= 2
    assert pixels[:, 5:, 3].min() >= 253
    assert pixels[:, 5:, :3].max() <= 2, "what is opaque is black"
    assert not [conversion for conversion in done if "flattened" in conversion]


def test_half_transparent_pixels_keep_their_colour_and_alpha() -> None:
    image, done = open_picture(saved(Image.new("RGBA", (8, 8), (200, 100, 0, 128)), "PNG"), RGBA, "a.png")
    assert (np.asarray(image) == (200, 100, 0, 128)).all()
    assert done == []


@pytest.mark.parametrize(("mode", "colour"), [("L", (70, 70, 70)), ("RGB", (10, 20, 30)), ("P", (51, 102, 153))])
def test_an_image_without_transparency_is_opaque(mode: str, colour: tuple[int, int, int]) -> None:
    image = Image.new("RGB", (8, 8), colour)
    pixels = np.asarray(open_picture(saved(image.convert(mode), "PNG"), RGBA, "a.png")[0])
    assert np.abs(pixels.astype(int) - (*colour, 255)).max() <= 1


def test_16_bits_keep_their_alpha() -> None:
    deep = np.empty((8, 8, 4), np.uint16)
    deep[:] = (65535, 32768, 0, 16448)
    image, done = open_picture(png(deep, 6), RGBA, "a.png")
    assert np.abs(np.asarray(image).astype(int) - (255, 128, 0, 64)).max() <= 1
    assert done == ["converted from 16 bits"]


def test_a_profile_changes_colours_and_not_alpha() -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 77))
    opened, done = open_picture(saved(image, "PNG", icc_profile=swapped_profile()), RGBA, "a.png")
    assert np.abs(np.asarray(opened).astype(int) - (0, 255, 0, 77)).max() <= 8
    assert done == ["converted to sRGB"]


def disc(hidden: tuple[int, int, int]) -> Image.Image:
    """A red disc of 64 pixels, on transparency with a hidden colour."""
    y, x = np.mgrid[:64, :64] - 31.5
    pixels = np.empty((64, 64, 4), np.uint8)
    inside = np.hypot(y, x) < 24
    pixels[:] = (*hidden, 0)
    pixels[inside] = (255, 0, 0, 255)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_hidden_colour_never_shows(tmp_path: Path, fit: str) -> None:
    """Resampled as it is stored, a disc on hidden green would have a green edge; and its file another fingerprint."""
    loaded = []
    for name, hidden in (("black", (0, 0, 0)), ("green", (0, 255, 0))):
        (tmp_path / name).mkdir()
        disc(hidden).save(tmp_path / name / "a.png")
        side = 16 if fit == "crop" else 64
        loaded.append(load_images(str(tmp_path / name), DataConfig(resolution=side, channels=4, fit=fit)))
    assert loaded[0].fingerprint == loaded[1].fingerprint
    (pixels,) = loaded[1].images
    assert (pixels[pixels[..., 3] == 0] == 0).all()
    assert (pixels[..., 1:3] == 0).all()
    assert (pixels[pixels[..., 3] > 0, 0] >= 250).all(), "an edge is red, and less opaque"


def test_resizing_is_that_of_what_is_seen(tmp_path: Path) -> None:
    """Laid over white before or after, the picture is the same."""
    disc((0, 0, 255)).save(tmp_path / "a.png")
    before = load_images(str(tmp_path), DataConfig(resolution=16, channels=3, fit="crop")).images
    after = lay_over(load_images(str(tmp_path), DataConfig(resolution=16, channels=4, fit="crop")).images, (255,) * 3)
    assert np.abs(before.astype(int) - after).max() <= 2


def test_opaque_images_are_resized_as_without_alpha(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    three, four = (
        load_images(str(tmp_path), DataConfig(resolution=16, channels=channels, fit="crop")).images
        for channels in (3, 4)
    )
    np.testing.assert_array_equal(four[..., :3], three)
    assert (four[..., 3] == 255).all()


def test_padding_is_transparent(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), "white").save(tmp_path / "a.png")
    (pixels,) = load_images(str(tmp_path), DataConfig(resolution=8, channels=4, fit="pad")).images
    assert (pixels[2:6, 2:6] == 255).all()
    assert pixels.sum() == 16 * 4 * 255


def test_a_background_would_do_nothing_and_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"background black is laid .* data\.channels 4 keeps .*: remove it, or set"):
        DataConfig(resolution=8, channels=4, fit="crop", background="black")


@pytest.mark.parametrize("opaque", [True, False])
def test_only_opaque_images_are_told_to_need_no_alpha(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], opaque: bool
) -> None:
    for index in range(4):
        Image.new("RGBA", (8, 8), (index, 0, 0, 255 if opaque or index else 254)).save(tmp_path / f"{index}.png")
    settings = ["conditional=false", "batch_size=2", "data.channels=4", "data.resolution=8", "data.fit=crop"]
    config = load_config("digits", settings)
    check_data(config, load_images(str(tmp_path), config.data))
    told = "every image looked at is opaque: --set data.channels=3 would spare the networks a channel"
    assert (told in capsys.readouterr().err) == opaque
