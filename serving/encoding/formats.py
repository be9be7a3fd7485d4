"""The table of formats. Request fields, negotiation, image addresses, OpenAPI and ZIP archives follow from it.

A new format is one more ``ImageFormat`` in the table, with its encoder.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from models.colour import COLOUR_SYNTAX
from serving.encoding.pillow import animate_gif, animate_webp, encode_jpeg, encode_webp
from serving.encoding.png import encode_png

Images = NDArray[np.uint8]

# Encodes one image, uint8 [H, W, C], at a quality of 1 … 100, with texts inside the file.
Encoder = Callable[[Images, int, Mapping[str, str]], bytes]
# Encodes images, uint8 [N, H, W, C], at a number of frames a second, with quality and texts as above.
AnimationEncoder = Callable[[Images, float, int, Mapping[str, str]], bytes]


@dataclass(frozen=True)
class ImageFormat:
    """A file format: its names, and the encoders that write it."""

    name: str
    """In requests, in JSON and in metrics."""
    extension: str
    """In image addresses and ZIP archives."""
    media_type: str
    lossy: bool = False
    """Whether ``quality`` has an effect."""
    keeps_alpha: bool = False
    """Whether its encoders take RGBA. Otherwise images with alpha are laid over a colour first."""
    encode: Encoder | None = None
    """None if the format is for animations only."""
    animate: AnimationEncoder | None = None
    """None if the format holds no animation."""

    @property
    def is_image(self) -> bool:
        """Returns whether browsers show a file of one image."""
        return self.encode is not None and self.media_type.startswith("image/")


def encode_npy(array: Images) -> bytes:
    """Encodes an array of any shape in NumPy's file format."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


# In order of preference: among equally acceptable formats, the first is served.
_TABLE = (
    ImageFormat(
        "png", "png", "image/png", keeps_alpha=True, encode=lambda pixels, quality, texts: encode_png(pixels, texts)
    ),
    ImageFormat("jpeg", "jpg", "image/jpeg", lossy=True, encode=encode_jpeg),
    ImageFormat("webp", "webp", "image/webp", lossy=True, keeps_alpha=True, encode=encode_webp, animate=animate_webp),
    ImageFormat("gif", "gif", "image/gif", keeps_alpha=True, animate=animate_gif),
    ImageFormat(
        "npy",
        "npy",
        "application/x-npy",
        keeps_alpha=True,
        encode=lambda pixels, quality, texts: encode_npy(pixels),
    ),
)

FORMATS = {entry.name: entry for entry in _TABLE}
IMAGE_FORMATS = tuple(entry for entry in _TABLE if entry.is_image)
ANIMATION_FORMATS = tuple(entry for entry in _TABLE if entry.animate is not None)
NPY = FORMATS["npy"]

DEFAULT_FORMAT = IMAGE_FORMATS[0].name
DEFAULT_QUALITY = 90

# The formats of one image or of a list of images, and those of walks, which can be animations, too.
STILL_FORMAT_NAMES = tuple(entry.name for entry in _TABLE if entry.encode is not None)
ANIMATION_FORMAT_NAMES = tuple(entry.name for entry in ANIMATION_FORMATS)

if TYPE_CHECKING:
    StillFormat = str
    AnyFormat = str
else:
    # pydantic validates these, and lists the names in its errors and in JSON schemas.
    StillFormat = Literal[STILL_FORMAT_NAMES]
    AnyFormat = Literal[tuple(FORMATS)]


def enumerate_names(names: list[str] | tuple[str, ...], conjunction: str = "or") -> str:
    """Returns names as a text for people, such as "png, jpeg or webp"."""
    *others, last = names
    return f"{', '.join(others)} {conjunction} {last}" if others else last


DEFAULT_BACKGROUND = "white"
_WITHOUT_ALPHA = enumerate_names([entry.name for entry in _TABLE if not entry.keeps_alpha], "and")
BACKGROUND_DESCRIPTION = (
    f"{COLOUR_SYNTAX}: laid behind transparent images in every format; if not given, transparency is kept, "
    f"and {_WITHOUT_ALPHA} takes {DEFAULT_BACKGROUND}"
)
QUALITY_DESCRIPTION = (
    f"of {enumerate_names([entry.name for entry in _TABLE if entry.lossy], 'and')}; {DEFAULT_QUALITY} if not given"
)
