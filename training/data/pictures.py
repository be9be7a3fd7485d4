"""One image file as a person sees it in a viewer: upright, opaque, in sRGB, with 8 bits."""

import functools
import io
import warnings
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageColor, TiffImagePlugin, UnidentifiedImageError

from training.config.schema import DataConfig
from training.errors import TrainingError

GREY_TOLERANCE = 2
"""Largest difference between the channels of a grey image: lossy WebP rounds each by itself."""

_GREY = {"1", "L", "LA", "La"}
_SIXTEEN_BITS = {"I;16", "I;16L", "I;16B", "I;16N"}
_ANIMATED = {"GIF", "PNG", "WEBP", "AVIF", "TIFF", "FLI"}
"""Formats whose frames are shown one after the other. The frames of MPO and PSD are previews, depths or layers."""
_REDUCED = {"PNG", "TIFF", "SGI"}
"""Formats whose colours of 16 bits Pillow reduces to 8."""
_CARRIES_ORIENTATION = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}
_UPRIGHT = {
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
"""Largest difference, of 255, that a profile makes to a colour if it is sRGB under another name."""


class BrokenPictureError(Exception):
    """An image that cannot be decoded; the text is the reason, without the name of the file."""


def open_picture(source: bytes | str | None, config: DataConfig, where: str) -> tuple[Image.Image, list[str]]:
    """Opens a file's content or path.

    Returns the image, of any size, in mode L or RGB as ``config.channels`` says, and the names of the conversions
    that were needed. Raises ``BrokenPictureError`` if it cannot be decoded, and ``TrainingError``, naming ``where``,
    if it is in colour and grey was asked for.
    """
    done: list[str] = []
    try:
        # A decoder's warnings name neither the file nor a remedy.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = _seen(source, config.background, done)
            grey = image.mode == "L" or (config.channels == 1 and _is_grey(image))
    except Exception as error:  # decoders raise whatever the damage leads to
        raise BrokenPictureError(_reason(error)) from error
    if config.channels == 1 and not grey:
        raise TrainingError(f"{where} is in colour; add --set data.channels=3, or convert the images to grey first")
    mode = "RGB" if config.channels == 3 else "L"
    return image if image.mode == mode else image.convert(mode), done


def _seen(source: bytes | str | None, background: str, done: list[str]) -> Image.Image:
    """The first frame in mode L or RGB."""
    if source is None:
        raise ValueError("there is no image")
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
        if file.format in _ANIMATED and getattr(file, "is_animated", False):
            done.append("first frame of several")
        if file.format in _REDUCED and file.tile and ";16" in str(file.tile[0][3]) and file.mode not in _SIXTEEN_BITS:
            done.append("converted from 16 bits")  # by Pillow as it loads
        image = _upright(file, done)
    if not (image.width and image.height):
        raise ValueError("it has no pixels")
    image = _eight_bits(image, done)
    image, alpha = _split_alpha(image)
    image = _standard_colours(image, done)
    if alpha is None or alpha.getextrema()[0] == 255:
        return image
    done.append(f"flattened onto {background}")
    canvas = Image.new("RGB", image.size, ImageColor.getrgb(background))
    canvas.paste(image.convert("RGB"), mask=alpha)
    return canvas


def _upright(file: Any, done: list[str]) -> Image.Image:
    """The loaded image, turned as its orientation says."""
    is_tiff = isinstance(file, TiffImagePlugin.TiffImageFile)
    # Pillow turns a TIFF as it loads it, and forgets the tag.
    orientation = file.tag_v2.get(ExifTags.Base.Orientation) if is_tiff else None
    file.load()
    if not is_tiff and not _CARRIES_ORIENTATION.isdisjoint(file.info):
        try:
            orientation = file.getexif().get(ExifTags.Base.Orientation)
        except Exception:  # a viewer shows a photograph with damaged EXIF as it lies there
            orientation = None
    if orientation not in _UPRIGHT:
        return file  # type: ignore[no-any-return]
    done.append("turned upright")
    return file if is_tiff else file.transpose(_UPRIGHT[orientation])  # type: ignore[no-any-return]


def _eight_bits(image: Image.Image, done: list[str]) -> Image.Image:
    """Images of more than 8 bits as L, or LA where one value stands for transparency; others as they are."""
    if image.mode in _SIXTEEN_BITS or (image.mode == "I" and image.format == "PPM"):
        done.append("converted from 16 bits")
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
        done.append("converted from floating-point numbers")
        grey = Image.fromarray(np.rint(numbers * 255).astype(np.uint8))
    else:
        return image
    grey.info = _profile_of(image)
    return grey


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The image without transparency, and its alpha channel if it has one."""
    if not image.has_transparency_data:
        return image, None
    # Premultiplied colours convert to plain ones and to nothing else.
    plain = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)) if image.mode[-1] == "a" else image
    coloured = plain.convert("LA" if plain.mode in _GREY else "RGBA")
    alpha, opaque = coloured.getchannel("A"), coloured.convert("L" if coloured.mode == "LA" else "RGB")
    opaque.info = _profile_of(image)
    return opaque, alpha


def _profile_of(image: Image.Image) -> Any:
    return {"icc_profile": image.info["icc_profile"]} if "icc_profile" in image.info else {}


def _standard_colours(image: Image.Image, done: list[str]) -> Image.Image:
    """An image without transparency as L or RGB in sRGB."""
    profile = image.info.get("icc_profile")
    if image.mode in ("1", "P", "RGBX"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    elif image.mode not in ("L", "RGB"):
        done.append(f"converted from {image.mode}")
    transform = _to_srgb(profile, image.mode) if profile else None
    if transform is not None:
        if image.mode in ("L", "RGB"):
            done.append("converted to sRGB")
        return ImageCms.applyTransform(image, transform) or image
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


@functools.lru_cache(maxsize=32)  # the photographs of one camera share a profile
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from an embedded profile to sRGB, or None if it is sRGB, damaged, or of another mode."""
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


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = image.split()
    return all(
        _extrema(ImageChops.difference(one, other))[0][1] <= GREY_TOLERANCE
        for one, other in ((red, green), (red, blue), (green, blue))
    )


def _extrema(image: Image.Image) -> list[tuple[int, int]]:
    extrema: Any = image.getextrema()
    return [extrema] if len(image.getbands()) == 1 else list(extrema)


def _reason(error: Exception) -> str:
    """What is wrong with a file, in one line."""
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return f"it has more than {most} pixels, the most that are decoded; scale it down first"
    if isinstance(error, UnidentifiedImageError):
        return "cannot identify image file"  # Pillow goes on with the name, or with an address in memory
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = " ".join(text.split())[:300]
    if isinstance(error, OSError | SyntaxError | ValueError | EOFError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
