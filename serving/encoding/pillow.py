"""Encoders of the formats that Pillow writes."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.encoding.metadata import description, exif_and_xmp

# libwebp's efforts are 0 … 6, with 4 as the default. Effort 1 takes half the time of 4, with 2 % more bytes.
_WEBP_METHOD = 1


def encode_jpeg(pixels: NDArray[np.uint8], quality: int, texts: Mapping[str, str]) -> bytes:
    """Encodes one image, uint8 [H, W, C], as JPEG."""
    return encode_image("JPEG", pixels, quality, texts)


def encode_webp(pixels: NDArray[np.uint8], quality: int, texts: Mapping[str, str]) -> bytes:
    """Encodes one image, uint8 [H, W, C], as lossy WebP."""
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
    return _animate("WEBP", images, frames_per_second, quality=quality, **exif_and_xmp(texts))


def animate_gif(images: NDArray[np.uint8], frames_per_second: float, quality: int, texts: Mapping[str, str]) -> bytes:
    """Encodes images, uint8 [N, H, W, C], as a GIF animation that repeats without end. Ignores ``quality``."""
    return _animate("GIF", images, frames_per_second, comment=description(texts))


def _animate(pillow_format: str, images: NDArray[np.uint8], frames_per_second: float, **options: Any) -> bytes:
    first, *others = map(_to_pillow, images)
    milliseconds = round(1000 / frames_per_second)
    buffer = io.BytesIO()
    first.save(buffer, pillow_format, save_all=True, append_images=others, duration=milliseconds, loop=0, **options)
    return buffer.getvalue()


def _to_pillow(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
