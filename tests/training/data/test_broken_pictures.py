"""Every damaged file is a broken file with a short reason, never a traceback."""

import io
import os
import random
import struct
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.config.schema import DataConfig
from training.data.dataset import load_images
from training.data.pictures import BrokenPictureError, open_picture

COLOUR = DataConfig(resolution=8, channels=3, fit="crop")


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, file_format, **options)
    return content.getvalue()


def photograph(size: int = 48) -> Image.Image:
    return Image.fromarray(np.random.RandomState(0).randint(0, 256, (size, size, 3), np.uint8))


WHOLE = {
    "JPEG": saved(photograph(), "JPEG"),
    "JPEG, progressive": saved(photograph(), "JPEG", progressive=True),
    "PNG": saved(photograph(), "PNG"),
    "GIF": saved(photograph(), "GIF"),
    "GIF, animated": saved(photograph(), "GIF", save_all=True, append_images=[photograph().rotate(90)]),
    "BMP": saved(photograph(), "BMP"),
    "BMP, palette": saved(photograph().quantize(16), "BMP"),
    "TIFF": saved(photograph(), "TIFF"),
    "TIFF, LZW": saved(photograph(), "TIFF", compression="tiff_lzw"),
    "WEBP": saved(photograph(), "WEBP"),
    "AVIF": saved(photograph(), "AVIF"),
    "JPEG 2000": saved(photograph(), "JPEG2000"),
    "DDS": saved(photograph(), "DDS"),
    "DDS, DXT5": saved(photograph().convert("RGBA"), "DDS", pixel_format="DXT5"),
    "TGA": saved(photograph(), "TGA", compression="tga_rle"),
    "ICO": saved(photograph(), "ICO", sizes=[(48, 48)]),
    "PCX": saved(photograph(), "PCX"),
    "PPM": saved(photograph(), "PPM"),
    "SGI": saved(photograph(), "SGI"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_truncated_file_is_broken(kind: str) -> None:
    content = WHOLE[kind]
    assert open_picture(content, COLOUR, kind)[0].size == (48, 48)
    with pytest.raises(BrokenPictureError):
        open_picture(content[: len(content) // 2], COLOUR, kind)


@pytest.mark.parametrize("kind", WHOLE)
def test_a_damaged_file_is_an_image_or_broken_and_nothing_else(kind: str) -> None:
    """Headers are where decoders trust what they read: half of the damage is done there."""
    draws = random.Random(kind)
    for attempt in range(60):
        content = bytearray(WHOLE[kind])
        reach = min(len(content), 96) if attempt % 2 else len(content)
        for _ in range(draws.choice((1, 1, 2, 8))):
            content[draws.randrange(reach)] = draws.choice((0, 1, 0x7F, 0x80, 0xFF, draws.randrange(256)))
        if attempt % 5 == 0:
            del content[draws.randrange(len(content)) :]
        try:
            image, _ = open_picture(bytes(content), COLOUR, kind)
        except BrokenPictureError as error:
            reason = str(error)
            assert reason
            assert "\n" not in reason
            assert "0x" not in reason, "an address in memory helps nobody"
        else:
            assert min(image.size) > 0


def bomb() -> bytes:
    """A PNG whose header promises 900 million pixels."""
    content = bytearray(WHOLE["PNG"])
    content[16:24] = struct.pack(">II", 30_000, 30_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot identify image file"),
        (b"no image", "cannot identify image file"),
        (None, "there is no image"),
        (bomb(), "it has more than 178956970 pixels, the most that are decoded; scale it down first"),
        ("/nowhere/a.png", "No such file or directory"),
    ],
)
def test_the_reason_is_short_and_says_what_to_do(content: bytes | str | None, reason: str) -> None:
    with pytest.raises(BrokenPictureError) as caught:
        open_picture(content, COLOUR, "a.png")
    assert str(caught.value) == reason


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("name", ["a.png", "without an ending", "a.eps", None])
def test_no_image_runs_ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None) -> None:
    """Pillow knows EPS by its content, in a row of Parquet or a file called .png, too, and runs ``gs`` on it."""
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    source: bytes | str = EPS
    if name:
        source = str(tmp_path / name)
        Path(source).write_bytes(EPS)
    with pytest.raises(BrokenPictureError, match="cannot identify image file"):
        open_picture(source, COLOUR, "a.png")
    assert not (tmp_path / "ran").exists()


def test_text_and_profiles_that_inflate_are_bounded() -> None:
    """Metadata of a PNG is compressed, too: 256 MB of zeros in 256 kB."""
    whole = WHOLE["PNG"]
    squeezed = zlib.compress(bytes(2**28), 9)
    for kind, head in ((b"zTXt", b"a\0\0"), (b"iCCP", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")):
        content = head + squeezed
        chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        tracemalloc.start()
        with suppress(BrokenPictureError):
            open_picture(whole[:33] + chunk + whole[33:], COLOUR, "a.png")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**24, kind


@pytest.mark.parametrize("error", [MemoryError(), KeyError("x"), struct.error("short"), zlib.error("bad"), EOFError()])
def test_any_exception_of_a_decoder_means_a_broken_file(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(BrokenPictureError, match=type(error).__name__):
        open_picture(b"", COLOUR, "a.png")


def test_a_broken_file_of_a_folder_is_named_and_skipped(tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / f"{index}.png").write_bytes(saved(photograph(), "PNG"))
    (tmp_path / "huge.png").write_bytes(bomb())
    (tmp_path / "damaged.dds").write_bytes(WHOLE["DDS"][:100])
    loaded = load_images(str(tmp_path), COLOUR.model_copy(update={"broken_share": 0.5}))
    assert len(loaded) == 3
    assert sorted(reason.rpartition("/")[2].split(" (")[0] for reason in loaded.broken) == ["damaged.dds", "huge.png"]
