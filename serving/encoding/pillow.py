"""Encoders of the formats that Pillow writes."""

import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.encoding.metadata import description, exif_and_xmp

# libwebp's efforts are 0 … 6, with 4 as the default. Effort 1 takes half the time of 4, with 2 % more bytes.
_WEBP_METHOD = 1

# GIF has no partial transparency: a pixel is opaque from this alpha on. One entry of the palette means transparent.
_GIF_OPAQUE = 128
_GIF_TRANSPARENT = 255
_CLEAR_BEFORE_NEXT = 2  # a method of disposal: the next frame would show this one through its transparent pixels


def encode_jpeg(pixels: NDArray[np.uint8], quality: int, texts: Mapping[str, str]) -> bytes:
    """Encodes one opaque image, uint8 [H, W, C] with C = 1 or 3, as JPEG."""
    return encode_image("JPEG", pixels, quality, texts)


def encode_webp(pixels: NDArray[np.uint8], quality: int, texts: Mapping[str, str]) -> bytes:
    """Encodes one image, uint8 [H, W, C], as lossy WebP. An alpha channel is kept exactly at every quality."""
    return encode_image("WEBP", pixels, quality, texts, method=_WEBP_METHOD)


def encode_image(
    pillow_format: str, pixels: NDArray[np.uint8], quality: int, texts: Mapping[str, str], **options: Any
) -> bytes:
    """Encodes one image, uint8 [H, W, C], in a format of Pillow's that holds EXIF and XMP."""
    buffer = io.BytesIO()
    _to_pillow(pixels).save(buffer, pillow_format, quality=quality, **exif_and_xmp(texts), **options)
    return buffer.getvalue()


def animate_webp(images: NDArray[np.uint8], frames_per_second: float, quality: int, texts: Mapping[str, str]) -> bytes:
    """Encodes images, uint8 [N, H, W, C], as a lossy WebP animation that repeats without end."""
    return _animate("WEBP", map(_to_pillow, images), frames_per_second, quality=quality, **exif_and_xmp(texts))


def animate_gif(images: NDArray[np.uint8], frames_per_second: float, quality: int, texts: Mapping[str, str]) -> bytes:
    """Encodes images, uint8 [N, H, W, C], as a GIF animation that repeats without end. Ignores ``quality``.

    Pixels with an alpha below 128 become transparent, all others opaque.
    """
    comment = description(texts)
    if images.shape[-1] == 4:
        frames = map(_to_gif_palette, images)
        return _animate("GIF", frames, frames_per_second, comment=comment, disposal=_CLEAR_BEFORE_NEXT)
    return _animate("GIF", map(_to_pillow, images), frames_per_second, comment=comment)


def _animate(pillow_format: str, frames: Iterable[Image.Image], frames_per_second: float, **options: Any) -> bytes:
    first, *others = frames
    milliseconds = round(1000 / frames_per_second)
    buffer = io.BytesIO()
    first.save(buffer, pillow_format, save_all=True, append_images=others, duration=milliseconds, loop=0, **options)
    return buffer.getvalue()


def _to_pillow(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _to_gif_palette(pixels: NDArray[np.uint8]) -> Image.Image:
    """Returns an image, uint8 [H, W, 4], with a palette of 255 colours and one transparent entry."""
    opaque = pixels[..., 3] >= _GIF_OPAQUE
    # The hidden colours are made equal, so that they take one entry of the palette at most.
    colours = Image.fromarray(np.where(opaque[..., None], pixels[..., :3], np.uint8(0))).quantize(_GIF_TRANSPARENT)
    indices = np.where(opaque, np.asarray(colours), np.uint8(_GIF_TRANSPARENT))
    image = Image.frombytes("P", colours.size, indices.tobytes())
    palette = (colours.getpalette() or [])[: 3 * _GIF_TRANSPARENT]
    image.putpalette(palette + [0] * (3 * (_GIF_TRANSPARENT + 1) - len(palette)))
    image.info["transparency"] = _GIF_TRANSPARENT
    return image
