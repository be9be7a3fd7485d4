"""Images as files: PNG, JPEG, WebP and NumPy arrays; and many images as one grid."""

import io
import math
from collections.abc import Mapping
from typing import Any, Literal
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.encoding.notes import readable
from serving.encoding.png import encode_png

Images = NDArray[np.uint8]
Format = Literal["png", "jpeg", "webp", "npy"]
Animation = Literal["webp", "gif"]

DEFAULT_QUALITY = 90

# Of libwebp's efforts 0 … 6 (4 if none is named): 2 % more bytes in half the time.
_WEBP_METHOD = 1

_EXIF_IMAGE_DESCRIPTION = 0x010E

# XMP (ISO 16684-1) in one element of attributes. The digital source type is IPTC's word for images that a model made,
# which search engines and picture libraries look for.
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="Figment"'
    ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    ' Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"'
    ' xmlns:figment="urn:figment:"{facts}/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


def encode(pixels: Images, file_format: Format, quality: int, texts: Mapping[str, str]) -> bytes:
    """One image, uint8 [H, W, C], as a file; ``quality`` (1 … 100) is for jpeg and webp.

    ``texts`` go into a PNG as text chunks, into the others as EXIF's image description and, each by its name, as XMP.
    """
    if file_format == "npy":
        return npy(pixels)
    if file_format == "png":
        return encode_png(pixels, texts)
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    options = {"method": _WEBP_METHOD} if file_format == "webp" else {}
    picture.save(buffer, file_format.upper(), quality=quality, **_metadata(texts), **options)
    return buffer.getvalue()


def encode_animation(
    images: Images, file_format: Animation, quality: int, frames_per_second: float, texts: Mapping[str, str]
) -> bytes:
    """Images, uint8 [N, H, W, C], as a moving image that repeats for ever."""
    first, *others = (Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels) for pixels in images)
    buffer = io.BytesIO()
    notes = {"comment": _description(texts)} if file_format == "gif" else {"quality": quality, **_metadata(texts)}
    milliseconds = round(1000 / frames_per_second)
    first.save(buffer, file_format.upper(), save_all=True, append_images=others, duration=milliseconds, loop=0, **notes)
    return buffer.getvalue()


def _description(texts: Mapping[str, str]) -> str:
    return readable("; ".join(text if name == "Comment" else f"{name}: {text}" for name, text in texts.items()))


def _metadata(texts: Mapping[str, str]) -> dict[str, Any]:
    """What Pillow is to write of ``texts`` into a JPEG or a WebP."""
    exif = Image.Exif()
    exif[_EXIF_IMAGE_DESCRIPTION] = _description(texts)
    facts = "".join(f" figment:{name.lower()}={quoteattr(readable(text))}" for name, text in texts.items())
    return {"exif": exif.tobytes(), "xmp": _XMP.format(facts=facts).encode()}


def npy(array: Images) -> bytes:
    """An array in NumPy's file format."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def square_columns(count: int) -> int:
    """The columns of a grid of so many images that is as square as can be."""
    return math.isqrt(count - 1) + 1
