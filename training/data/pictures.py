"""Opens an image file as a viewer shows it: upright, in sRGB, with 8 bits, and opaque unless transparency is kept."""

import functools
import io
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageColor, TiffImagePlugin, UnidentifiedImageError

from training.config.schema import DataConfig
from training.errors import TrainingError

GREY_TOLERANCE = 2
"""Largest difference between the channels of a grey image, since lossy WebP rounds each channel separately."""

_MODE_OF_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}
_GREY_MODES = {"1", "L", "LA", "La"}
_MODES_OF_16_BITS = {"I;16", "I;16L", "I;16B", "I;16N"}
_ANIMATED_FORMATS = {"GIF", "PNG", "WEBP", "AVIF", "TIFF", "FLI"}
"""Formats whose frames are an animation. The frames of MPO and PSD are previews, depth maps or layers."""
_REDUCED_FORMATS = {"PNG", "TIFF", "SGI"}
"""Formats whose 16-bit colours Pillow reduces to 8 bits."""
_ORIENTATION_KEYS = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}
_TRANSPOSE_FOR = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_SRGB_TOLERANCE = 3
"""Largest change to a colour, of 255, from a profile that counts as sRGB under another name."""


_RUN_OR_STUB = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"}
"""Formats that Pillow registers but does not decode by itself. It runs Ghostscript for EPS, however named."""


@functools.cache
def decodable_formats() -> tuple[str, ...]:
    """Returns the names of the image formats that Pillow itself decodes, the common ones first."""
    Image.preinit()
    common = list(Image.OPEN)
    Image.init()
    return tuple(name for name in dict.fromkeys([*common, *Image.OPEN]) if name not in _RUN_OR_STUB)


class BrokenPictureError(Exception):
    """An image that cannot be decoded. The text is the reason, without the file's name."""


def open_picture(source: bytes | str | None, config: DataConfig, where: str) -> tuple[Image.Image, list[str]]:
    """Opens an image from bytes or a path.

    Returns the image, of any size, in mode L, RGB or RGBA (straight alpha) according to ``config.channels``, and the
    names of the conversions it needed. Raises ``BrokenPictureError`` if it cannot be decoded. Raises ``TrainingError``,
    naming ``where``, if it is in colour and the configuration wants grey.
    """
    conversions: list[str] = []
    try:
        background = None if config.channels == 4 else config.background
        image = _open_first_frame(source, background, conversions)
        grey = image.mode == "L" or (config.channels == 1 and is_grey(image))
    except Exception as error:  # decoders raise exceptions of any type for damaged files
        raise BrokenPictureError(_reason(error)) from error
    if config.channels == 1 and not grey:
        raise TrainingError(f"{where} is in colour; add --set data.channels=3, or convert the images to grey first")
    mode = _MODE_OF_CHANNELS[config.channels]
    return image if image.mode == mode else image.convert(mode), conversions


def _open_first_frame(source: bytes | str | None, background: str | None, conversions: list[str]) -> Image.Image:
    """Returns the first frame in mode L or RGB, upright, in sRGB, and opaque: laid over the background.

    Without a background, a frame that is not opaque stays so, in mode RGBA.
    """
    if source is None:
        raise ValueError("there is no image")
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=decodable_formats()) as file:
        if file.format in _ANIMATED_FORMATS and getattr(file, "is_animated", False):
            conversions.append("first frame of several")
        if (
            file.format in _REDUCED_FORMATS
            and file.tile
            and ";16" in str(file.tile[0][3])
            and file.mode not in _MODES_OF_16_BITS
        ):
            conversions.append("converted from 16 bits")  # by Pillow as it loads
        image = _turn_upright(file, conversions)
    if not (image.width and image.height):
        raise ValueError("it has no pixels")
    image = _reduce_to_8_bits(image, conversions)
    image, alpha = _split_alpha(image)
    image = _to_srgb_colours(image, conversions)
    if alpha is None or alpha.getextrema()[0] == 255:
        return image
    if background is None:
        transparent = image.convert("RGB")
        transparent.putalpha(alpha)
        return transparent
    conversions.append(f"flattened onto {background}")
    canvas = Image.new("RGB", image.size, ImageColor.getrgb(background))
    canvas.paste(image.convert("RGB"), mask=alpha)
    return canvas


def _turn_upright(file: Any, conversions: list[str]) -> Image.Image:
    """Returns the loaded image, turned according to its orientation tag."""
    is_tiff = isinstance(file, TiffImagePlugin.TiffImageFile)
    # Pillow turns a TIFF while loading it and drops the tag, so the tag is read before.
    orientation = file.tag_v2.get(ExifTags.Base.Orientation) if is_tiff else None
    file.load()
    if not is_tiff and not _ORIENTATION_KEYS.isdisjoint(file.info):
        try:
            orientation = file.getexif().get(ExifTags.Base.Orientation)
        except Exception:  # viewers show a photograph with damaged EXIF unturned
            orientation = None
    if orientation not in _TRANSPOSE_FOR:
        return file  # type: ignore[no-any-return]
    conversions.append("turned upright")
    return file if is_tiff else file.transpose(_TRANSPOSE_FOR[orientation])  # type: ignore[no-any-return]


def _reduce_to_8_bits(image: Image.Image, conversions: list[str]) -> Image.Image:
    """Reduces an image of more than 8 bits to L, or to LA if one value means transparency; returns others unchanged."""
    if image.mode in _MODES_OF_16_BITS or (image.mode == "I" and image.format == "PPM"):
        conversions.append("converted from 16 bits")
        values = np.asarray(image).astype(np.uint32)
        scaled = ((values + 128) // 257).astype(np.uint8)
        if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            scaled = 255 - scaled
        grey = Image.fromarray(scaled)
        transparent = image.info.get("transparency")
        if transparent is not None:
            grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    elif image.mode in ("I", "F"):
        numbers = np.asarray(image)
        low, high = numbers.min(), numbers.max()
        if image.mode == "I" or not (low >= 0 and high <= 1):  # NaN compares as False
            kind = "whole numbers of 32 bits" if image.mode == "I" else "floating-point numbers"
            raise ValueError(
                f"it holds {kind} from {low:g} to {high:g}; only 8 bits, 16 bits and floating-point numbers from 0 "
                "to 1 say which of them is white"
            )
        conversions.append("converted from floating-point numbers")
        grey = Image.fromarray(np.rint(numbers * 255).astype(np.uint8))
    else:
        return image
    grey.info = _profile_of(image)
    return grey


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Returns the image without transparency, and its alpha channel or None."""
    if not image.has_transparency_data:
        return image, None
    # Pillow converts premultiplied colours to plain ones only.
    plain = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)) if image.mode[-1] == "a" else image
    coloured = plain.convert("LA" if plain.mode in _GREY_MODES else "RGBA")
    alpha, opaque = coloured.getchannel("A"), coloured.convert("L" if coloured.mode == "LA" else "RGB")
    opaque.info = _profile_of(image)
    return opaque, alpha


def _profile_of(image: Image.Image) -> Any:
    return {"icc_profile": image.info["icc_profile"]} if "icc_profile" in image.info else {}


def _to_srgb_colours(image: Image.Image, conversions: list[str]) -> Image.Image:
    """Converts an image without transparency to L or RGB in sRGB."""
    profile = image.info.get("icc_profile")
    if image.mode in ("1", "P", "RGBX"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    elif image.mode not in ("L", "RGB"):
        conversions.append(f"converted from {image.mode}")
    transform = _to_srgb(profile, image.mode) if profile else None
    if transform is not None:
        if image.mode in ("L", "RGB"):
            conversions.append("converted to sRGB")
        return ImageCms.applyTransform(image, transform) or image
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


@functools.lru_cache(maxsize=32)  # photographs of one camera share a profile
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Returns the transform from an embedded profile to sRGB; None if it is sRGB, damaged, or for another mode."""
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    if mode == "CMYK":
        return transform
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    shape = (1, -1) if mode == "L" else (1, -1, 3)
    grid = np.stack(np.meshgrid(*[levels] * (1 if mode == "L" else 3)), -1).reshape(shape)
    probe = Image.fromarray(grid)
    changed = ImageCms.applyTransform(probe, transform) or probe
    difference = ImageChops.difference(probe.convert("RGB"), changed)
    return transform if max(high for _, high in _extrema(difference)) > _SRGB_TOLERANCE else None


def is_grey(image: Image.Image) -> bool:
    """Returns whether the colours of an image in mode RGB are all grey, within ``GREY_TOLERANCE``."""
    red, green, blue = image.split()
    return all(
        _extrema(ImageChops.difference(one, other))[0][1] <= GREY_TOLERANCE
        for one, other in ((red, green), (red, blue), (green, blue))
    )


def _extrema(image: Image.Image) -> list[tuple[int, int]]:
    extrema: Any = image.getextrema()
    return [extrema] if len(image.getbands()) == 1 else list(extrema)


def _reason(error: Exception) -> str:
    """Returns in one line why a file cannot be decoded."""
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return f"it has more than {most} pixels, the most that are decoded; scale it down first"
    if isinstance(error, UnidentifiedImageError):
        return "cannot identify image file"  # Pillow's text adds a name or an address in memory
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = " ".join(text.split())[:300]
    if isinstance(error, OSError | SyntaxError | ValueError | EOFError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
