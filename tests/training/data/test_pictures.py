"""What is trained on is what a person sees in a viewer."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, features

from training.config.schema import DataConfig
from training.data.dataset import load_images
from training.data.pictures import BrokenPictureError, open_picture
from training.errors import TrainingError

COLOUR = DataConfig(resolution=8, channels=3, fit="crop")
GREY = DataConfig(resolution=8, channels=1, fit="crop")
CORNERS = np.zeros((16, 32, 3), np.uint8)
CORNERS[:8, :16], CORNERS[:8, 16:], CORNERS[8:, :16] = (200, 40, 40), (40, 200, 40), (40, 40, 200)


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, file_format, **options)
    return content.getvalue()


def opened(content: bytes, config: DataConfig = COLOUR) -> tuple[NDArray[np.int64], list[str]]:
    image, done = open_picture(content, config, "a.png")
    assert image.mode == ("RGB" if config.channels == 3 else "L")
    return np.asarray(image).astype(int), done


def png(rows: NDArray[Any], colour_type: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write in colour."""
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], 16, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


# --- upright ---------------------------------------------------------------------------------------------------------

ORIENTATION = 0x0112
TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}


def tagged(file_format: str, orientation: int) -> bytes:
    image, exif = Image.fromarray(CORNERS), Image.Exif()
    exif[ORIENTATION] = orientation
    if file_format == "TIFF":
        return saved(image, "TIFF", tiffinfo={ORIENTATION: orientation})
    if file_format == "TIFF, compressed":
        return saved(image, "TIFF", tiffinfo={ORIENTATION: orientation}, compression="tiff_lzw")
    if file_format == "MPO":
        return saved(image, "MPO", exif=exif, save_all=True, append_images=[image], quality=95)
    if file_format.endswith("XMP"):
        xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
        return saved(image, file_format.split(",")[0], xmp=xmp)
    return saved(image, file_format, exif=exif, quality=95)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(
    "file_format", ["JPEG", "PNG", "WEBP", "MPO", "TIFF", "TIFF, compressed", "AVIF", "JPEG, XMP", "WEBP, XMP"]
)
def test_a_photograph_stands_upright(file_format: str, orientation: int) -> None:
    """A phone writes what its sensor saw, and how it was held."""
    assert features.check("avif"), "Pillow's wheels read AVIF"
    pixels, done = opened(tagged(file_format, orientation))
    expected = TURNS[orientation](CORNERS).astype(int)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).mean() < 12, "lossy formats blur the edges"
    assert done == (["turned upright"] if orientation > 1 else [])


def test_damaged_exif_leaves_a_photograph_unturned() -> None:
    exif = b"Exif\0\0MM\0\x2a\xff\xff\xff\xff" + b"\xff" * 40
    pixels, done = opened(saved(Image.fromarray(CORNERS), "PNG", exif=exif))
    assert pixels.tolist() == CORNERS.tolist()
    assert done == []


def test_pictures_in_parquet_stand_upright_too_and_are_counted(tmp_path: Path) -> None:
    import datasets

    pictures = [{"bytes": tagged("JPEG", orientation), "path": None} for orientation in (6, 1, 6)]
    datasets.Dataset.from_dict({"image": pictures}).to_parquet(tmp_path / "phone.parquet")
    loaded = load_images(str(tmp_path / "phone.parquet"), COLOUR)
    red, green = loaded.images[0, 0, -1].astype(int), loaded.images[0, -1, -1].astype(int)
    assert red.argmax() == 0, "the first row of a photograph held upright is the right edge of what the sensor saw"
    assert green.argmax() == 1
    assert loaded.converted == {"turned upright": 2}


# --- opaque ----------------------------------------------------------------------------------------------------------


def half_transparent(mode: str) -> Image.Image:
    """The left half is transparent, the right half opaque and black."""
    alpha = Image.new("L", (8, 8), 255)
    alpha.paste(0, (0, 0, 4, 8))
    image = Image.new("L" if mode == "LA" else "RGB", (8, 8))
    image.putalpha(alpha)
    return image.convert(mode)


def with_transparent_colour(mode: str) -> Image.Image:
    image = Image.new(mode, (8, 8))
    if mode == "P":
        image.putpalette(bytes(range(16)) * 3, "RGB")
    image.paste({"RGB": (9, 8, 7), "1": 1}.get(mode, 9), (0, 0, 4, 8))
    return image


TRANSPARENT = {
    "RGBA": saved(half_transparent("RGBA"), "PNG"),
    "LA": saved(half_transparent("LA"), "PNG"),
    "PA": saved(half_transparent("PA"), "TIFF"),
    "WebP": saved(half_transparent("RGBA"), "WEBP", lossless=True),
    "AVIF": saved(half_transparent("RGBA"), "AVIF", quality=100),
    "TIFF": saved(half_transparent("RGBA"), "TIFF"),
    "ICO": saved(half_transparent("RGBA"), "ICO", sizes=[(8, 8)]),
    "GIF": saved(with_transparent_colour("P"), "GIF", transparency=9),
    "palette, one colour": saved(with_transparent_colour("P"), "PNG", transparency=9),
    "palette, alpha each": saved(with_transparent_colour("P"), "PNG", transparency=bytes([255] * 9 + [0])),
    "one grey": saved(with_transparent_colour("L"), "PNG", transparency=9),
    "one colour": saved(with_transparent_colour("RGB"), "PNG", transparency=(9, 8, 7)),
    "one bit": saved(with_transparent_colour("1"), "PNG", transparency=255),
    "16 bits, one grey": png(
        np.where(np.arange(8) < 4, 4660, 0)[None].repeat(8, 0)[..., None], 0, (b"tRNS", struct.pack(">H", 4660))
    ),
}


@pytest.mark.parametrize("kind", TRANSPARENT)
@pytest.mark.parametrize(
    ("background", "expected"), [("white", [255, 255, 255]), ("#00ff00", [0, 255, 0]), ("black", [0, 0, 0])]
)
def test_transparency_shows_the_background(kind: str, background: str, expected: list[int]) -> None:
    pixels, done = opened(TRANSPARENT[kind], COLOUR.model_copy(update={"background": background}))
    assert np.abs(pixels[:, :3] - expected).max() <= 2
    assert np.abs(pixels[:, 5:]).max() <= 2, "what is opaque stays"
    assert f"flattened onto {background}" in done


def test_half_transparent_pixels_are_blended() -> None:
    pixels, _ = opened(saved(Image.new("RGBA", (8, 8), (200, 100, 0, 128)), "PNG"))
    assert np.abs(pixels - [227, 177, 127]).max() <= 1


def test_grey_stays_grey_on_grey() -> None:
    pixels, done = opened(TRANSPARENT["LA"], GREY)
    assert pixels[0].tolist() == [255] * 4 + [0] * 4
    assert done == ["flattened onto white"]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_that_hides_nothing_is_no_conversion(mode: str) -> None:
    image = Image.new("L", (8, 8), 70).convert(mode)
    assert opened(saved(image, "PNG")) == (pytest.approx(np.full((8, 8, 3), 70)), [])


@pytest.mark.parametrize(
    ("value", "kept"), [("White", "white"), ("#FFaa00", "#ffaa00"), ([1, 2, 255], "#0102ff"), ("black", "black")]
)
def test_a_background_is_a_colour(value: Any, kept: str) -> None:
    assert DataConfig(resolution=8, channels=3, fit="crop", background=value).background == kept


@pytest.mark.parametrize("value", ["red", "#fff", None, [1, 2], [1, 2, 256], [True, 0, 0], 7, "#ggffff", [[1], 2, 3]])
def test_another_background_is_rejected(value: Any) -> None:
    with pytest.raises(ValueError, match="must be white, black, '#rrggbb'"):
        DataConfig(resolution=8, channels=3, fit="crop", background=value)


def test_a_coloured_background_of_grey_images_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"background #ff0000 is a colour, and data\.channels 1 holds grey"):
        DataConfig(resolution=8, channels=1, fit="crop", background="#ff0000")


# --- 8 bits, sRGB ----------------------------------------------------------------------------------------------------

RAMP = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
DEEP = {
    "PNG": saved(Image.fromarray(RAMP), "PNG"),
    "TIFF": saved(Image.fromarray(RAMP), "TIFF"),
    "TIFF, big-endian": saved(Image.fromarray(RAMP.astype(">u2")), "TIFF"),
    "TIFF, white is 0": saved(Image.fromarray(65535 - RAMP), "TIFF", tiffinfo={262: 0}),
    "PGM": b"P5 8 8 65535\n" + RAMP.astype(">u2").tobytes(),
    "JPEG 2000": saved(Image.fromarray(RAMP), "JPEG2000", irreversible=False),
}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("config", [GREY, COLOUR])
def test_16_bits_are_scaled_and_not_clipped(kind: str, config: DataConfig) -> None:
    pixels, done = opened(DEEP[kind], config)
    assert np.abs(pixels.reshape(64, -1) - np.rint(RAMP.reshape(64, 1) / 257)).max() <= 1
    assert done == ["converted from 16 bits"]


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bits_in_colour_are_scaled_and_counted(colour_type: int, channels: int) -> None:
    deep = np.repeat(RAMP[..., None], channels, axis=2)
    if channels in (2, 4):
        deep[..., -1] = 65535
    pixels, done = opened(png(deep, colour_type))
    assert np.abs(pixels - RAMP[..., None] / 257).max() <= 1
    assert done == ["converted from 16 bits"]


def test_floating_point_numbers_from_0_to_1_are_scaled() -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    pixels, done = opened(saved(Image.fromarray(values), "TIFF"), GREY)
    assert pixels.tolist() == np.rint(values * 255).tolist()
    assert done == ["converted from floating-point numbers"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([[0, 255.0]], np.float32), "floating-point numbers from 0 to 255; only 8 bits"),
        (np.array([[-0.5, 1.0]], np.float32), "floating-point numbers from -0.5 to 1"),
        (np.array([[np.nan, 1.0]], np.float32), "floating-point numbers from nan"),
        (np.array([[0, 255]], np.int32), "whole numbers of 32 bits from 0 to 255"),
    ],
)
def test_numbers_without_a_known_white_are_rejected(values: NDArray[Any], reason: str) -> None:
    with pytest.raises(BrokenPictureError, match=reason):
        open_picture(saved(Image.fromarray(values), "TIFF"), GREY, "a.tiff")


@pytest.mark.parametrize(
    ("mode", "colour", "file_format", "expected"),
    [
        ("CMYK", (0, 255, 255, 0), "JPEG", [255, 0, 0]),
        ("CMYK", (0, 255, 255, 0), "TIFF", [255, 0, 0]),
        ("LAB", (136, 208, 195), "TIFF", [255, 0, 0]),
        ("YCbCr", (76, 85, 255), "TIFF", [254, 0, 0]),
    ],
)
def test_other_colours_become_rgb(mode: str, colour: tuple[int, ...], file_format: str, expected: list[int]) -> None:
    pixels, done = opened(saved(Image.new(mode, (8, 8), colour), file_format))
    assert np.abs(pixels - expected).max() <= 12
    assert done == [f"converted from {mode}"]


def swapped_profile() -> bytes:
    """sRGB, in which red and green have changed places."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for index in range(struct.unpack_from(">I", profile, 128)[0]):
        place = 132 + 12 * index
        name = bytes(profile[place : place + 4])
        profile[place : place + 4] = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ"}.get(name, name)
    return bytes(profile)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_embedded_profile_gives_the_colours(file_format: str) -> None:
    """A photograph in Display P3 is paler without its profile; with this one it would be green."""
    image = Image.new("RGB", (16, 16), (255, 0, 0))
    pixels, done = opened(saved(image, file_format, icc_profile=swapped_profile()))
    assert np.abs(pixels - [0, 255, 0]).max() <= 8
    assert done == ["converted to sRGB"]


def test_a_profile_counts_below_transparency_and_in_palettes() -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    for each in (image, image.quantize(4)):
        pixels, done = opened(saved(each, "PNG", icc_profile=swapped_profile()))
        assert pixels[0, 0].tolist() == [255, 255, 255]
        assert np.abs(pixels[4, 4] - [0, 255, 0]).max() <= 8
        assert done == ["converted to sRGB", "flattened onto white"]


@pytest.mark.parametrize(
    "profile", [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"no profile", b""]
)
def test_a_profile_that_says_nothing_changes_nothing(profile: bytes) -> None:
    pixels, done = opened(saved(Image.fromarray(CORNERS), "PNG", icc_profile=profile))
    assert pixels.tolist() == CORNERS.tolist()
    assert done == []


# --- grey or colour --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        saved(Image.new("RGB", (8, 8), (90, 90, 90)), "PNG"),
        saved(Image.new("RGB", (8, 8), (90, 90, 90)), "WEBP", quality=40),
        saved(Image.new("L", (8, 8), 90), "GIF"),
        saved(Image.new("L", (8, 8), 90).convert("P"), "PNG"),
        saved(Image.new("L", (8, 8), 90).convert("CMYK"), "TIFF"),
    ],
    ids=["RGB", "WebP", "GIF", "palette", "CMYK"],
)
def test_grey_in_colour_files_is_grey(content: bytes) -> None:
    pixels, _ = opened(content, GREY)
    assert np.abs(pixels - 90).max() <= 2


@pytest.mark.parametrize("image", [Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "red").quantize(2)])
def test_colour_is_not_lost_without_being_asked(image: Image.Image) -> None:
    with pytest.raises(TrainingError, match=r"a\.png is in colour; add --set data.channels=3"):
        open_picture(saved(image, "PNG"), GREY, "a.png")


def test_black_and_white_is_grey() -> None:
    pixels, done = opened(saved(Image.new("1", (8, 8), 1), "TIFF"), GREY)
    assert (pixels.min(), pixels.max(), done) == (255, 255, [])


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_an_animation_gives_its_first_frame(file_format: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    pixels, done = opened(saved(frames[0], file_format, save_all=True, append_images=frames[1:]))
    assert np.abs(pixels - [255, 0, 0]).max() <= 8
    assert done == ["first frame of several"]


def test_conversions_are_counted_for_the_report(tmp_path: Path) -> None:
    kinds = ["RGBA", "16 bits, one grey", "LA"]
    for index, content in enumerate([*(TRANSPARENT[kind] for kind in kinds), DEEP["PNG"], DEEP["PNG"]]):
        (tmp_path / f"{index}.png").write_bytes(content)
    loaded = load_images(str(tmp_path), GREY)
    assert loaded.converted == {"flattened onto white": 3, "converted from 16 bits": 3}
