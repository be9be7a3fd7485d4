"""Looks at the images of DATA before anything is decoded: their number, sizes, colours and labels. Decides nothing.

Reads labels in full, headers of some hundred images, and pixels of some dozens.
"""

import io
import statistics
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from training.config.schema import DataConfig
from training.data.pictures import BrokenPictureError, decodable_formats, is_grey, open_picture
from training.data.sources.find import find_images
from training.data.sources.rows import Row, spread
from training.errors import TrainingError

_HEADERS = 256
"""Images whose size is read."""
_PICTURES = 48
"""Images whose pixels are read, ..."""
_PIXELS = 12_000_000
"""... but no more pixels than these: one photograph of 12 megapixels takes a tenth of a second ..."""
_MIN_PICTURES = 4
"""... of each of at least four images."""
_DRAWING_COLOURS = 64
"""Most colours of a drawing. Pixel art has a palette of 4 to 64; a photograph has thousands of colours."""
_PIXELS_PER_COLOUR = 16
"""Fewest pixels for each of these colours, since a small photograph has few pixels, and so few colours."""

_BLACK = 8
"""Largest value, of 255, that counts as black: lossy files round it."""


@dataclass(frozen=True)
class Survey:
    """What is known of DATA after a look at it."""

    name: str
    images: int
    """The number of all images."""
    sizes: tuple[tuple[int, int], ...]
    """Width and height of the images that were looked at."""
    grey: bool
    """Whether all images whose pixels were looked at are grey and opaque."""
    transparent: float
    """Share of these that are not opaque."""
    drawn: float
    """Share of these with so few colours that they are drawings."""
    empty_corners: float
    """Share of these whose four corners are black or transparent."""
    labels: Mapping[str, int] | None
    """Label → number of images; None without labels."""

    @property
    def short_side(self) -> int:
        """The median of the images' shorter sides, in pixels."""
        return int(statistics.median(min(size) for size in self.sizes))

    @property
    def size(self) -> tuple[int, int] | None:
        """The width and height of all images looked at; None if they differ."""
        return self.sizes[0] if len(set(self.sizes)) == 1 else None


def survey_images(data: str, config: DataConfig) -> Survey:
    """Looks at the images of DATA. Raises ``TrainingError`` if there are none, or none of those looked at opens.

    Of the configuration it takes the columns and the kind of labels, and ``channels`` 4 to see transparency.
    """
    source = find_images(data, config)
    rows = source.open_rows()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # decoders' warnings name neither the file nor a remedy
        opened = [(row, size) for row in rows.sample(_HEADERS) if (size := _size(row)) is not None]
        if not opened:
            raise TrainingError(f"none of the images of {source.name} that were looked at can be opened")
        pixels = statistics.median(width * height for _, (width, height) in opened)
        wanted = min(_PICTURES, max(_MIN_PICTURES, int(_PIXELS / max(pixels, 1))))
        pictures = _pictures([opened[index][0] for index in spread(len(opened), wanted)], config)
    if not pictures:
        raise TrainingError(f"none of the images of {source.name} that were looked at can be decoded")
    transparent = [picture.getchannel("A").getextrema()[0] != 255 for picture in pictures]
    labels = None
    if rows.labels is not None and rows.label_names is not None:
        counts = np.bincount(rows.labels, minlength=len(rows.label_names)).tolist()
        labels = dict(zip(rows.label_names, counts, strict=True))
    return Survey(
        name=source.name,
        images=rows.count,
        sizes=tuple(size for _, size in opened),
        grey=not any(transparent) and all(is_grey(picture.convert("RGB")) for picture in pictures),
        transparent=sum(transparent) / len(pictures),
        drawn=sum(map(_is_drawn, pictures)) / len(pictures),
        empty_corners=sum(map(_has_empty_corners, pictures)) / len(pictures),
        labels=labels,
    )


def _size(row: Row) -> tuple[int, int] | None:
    """Returns the width and height in an image's header; None if it cannot be read."""
    if row is None or (row["bytes"] is None and row["path"] is None):
        return None
    try:
        source = io.BytesIO(row["bytes"]) if row["bytes"] is not None else row["path"]
        with Image.open(source, formats=decodable_formats()) as file:
            return file.size if min(file.size) else None
    except Exception:  # decoders raise anything for damaged files, which are named when they are decoded
        return None


def _pictures(rows: list[Row], config: DataConfig) -> list[Image.Image]:
    """Decodes images to mode RGBA, without those that are broken."""
    pictures = []
    for row in rows:
        assert row is not None
        try:
            pictures.append(open_picture(row["path"] if row["bytes"] is None else row["bytes"], config, "")[0])
        except BrokenPictureError:
            continue
    return pictures


def _is_drawn(picture: Image.Image) -> bool:
    most = min(_DRAWING_COLOURS, picture.width * picture.height // _PIXELS_PER_COLOUR)
    return picture.getcolors(most) is not None


def _has_empty_corners(picture: Image.Image) -> bool:
    corners = np.asarray(picture)[:: max(1, picture.height - 1), :: max(1, picture.width - 1)]
    return bool(((corners[..., :3] <= _BLACK).all(-1) | (corners[..., 3] == 0)).all())
