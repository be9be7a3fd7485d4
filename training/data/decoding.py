"""Decodes the rows of a data set, fits them to the configured size, and writes them as one array."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from training.config.schema import DataConfig
from training.console import console
from training.data.cache import IMAGES_FILE, LABELS_FILE, META_FILE, new_entry
from training.data.pictures import BrokenPictureError, open_picture
from training.data.sources.names import printable
from training.data.sources.rows import Rows
from training.errors import TrainingError


def decode(rows: Rows, config: DataConfig, folder: Path) -> None:
    """Writes the images, their labels and ``meta.json`` into a new folder, whole or not at all.

    Raises ``TrainingError``.
    """
    if rows.count == 0:
        raise TrainingError("the data holds no images")
    labels, label_names = rows.labels, rows.label_names
    converted: Counter[str] = Counter()

    with new_entry(folder) as draft:
        kept, broken = _write_images(rows, config, draft / IMAGES_FILE, converted)
        digest = hashlib.sha256()
        for image in np.load(draft / IMAGES_FILE, mmap_mode="r"):
            digest.update(image.tobytes())
        if labels is not None:
            np.save(draft / LABELS_FILE, labels[kept])
            digest.update(labels[kept].tobytes())
        digest.update(json.dumps(label_names).encode())
        meta = {
            "fingerprint": digest.hexdigest(),
            "label_names": label_names,
            "broken": broken,
            "converted": converted,
        }
        (draft / META_FILE).write_text(json.dumps(meta))


def _write_images(rows: Rows, config: DataConfig, path: Path, converted: Counter[str]) -> tuple[list[int], list[str]]:
    """Decodes into ``path``. Returns the indices of the rows in it, and each broken file with the reason.

    Raises ``TrainingError`` if all files are broken, or more than ``broken_share`` allows.
    """
    shape = (config.resolution, config.resolution, config.channels)
    allowed = int(config.broken_share * rows.count)
    kept: list[int] = []
    broken: list[str] = []
    with path.open("wb") as file:
        _write_npy_header(file, (rows.count, *shape))
        for index, image in enumerate(_fitted_images(rows, config, converted)):
            if isinstance(image, str):
                broken.append(image)
            else:
                kept.append(index)
                file.write(image.tobytes())
        if len(broken) > allowed or not kept:
            shown = "; ".join(broken[:3]) + ("; …" if len(broken) > 3 else "")
            raise TrainingError(
                f"{len(broken)} of {rows.count} images cannot be decoded, and data.broken_share "
                f"{config.broken_share:g} allows {allowed}: {shown}"
            )
        file.seek(0)
        _write_npy_header(file, (len(kept), *shape))  # NumPy pads headers, so it has the first one's length
    return kept, broken


def _write_npy_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _fitted_images(rows: Rows, config: DataConfig, converted: Counter[str]) -> Iterator[NDArray[np.uint8] | str]:
    """Yields each image as uint8 [H, W, C], or why it is broken. Counts conversions in ``converted``."""
    first_size: tuple[int, int] | None = None
    progress = track(rows.images, "Decoding images", rows.count, console=console, disable=not console.is_terminal)
    for index, row in enumerate(progress):
        if row is None or (row["bytes"] is None and row["path"] is None):
            yield f"image {index} (is missing)"
            continue
        where = printable(row["path"] or f"image {index}")
        try:
            image, conversions = open_picture(row["path"] if row["bytes"] is None else row["bytes"], config, where)
        except BrokenPictureError as error:
            yield f"{where} ({error})"
            continue
        converted.update(conversions)
        first_size = first_size or image.size
        if config.fit == "pad":
            if image.size != first_size:
                raise TrainingError(
                    f"{where} has {_size(image.size)} pixels, the images before it {_size(first_size)}; "
                    "to crop and resize them all, add --set data.fit=crop"
                )
            image = _pad(image, config.resolution, where)
        else:
            image = _crop(image, config.resolution)
        pixels = np.asarray(image, dtype=np.uint8).reshape(config.resolution, config.resolution, config.channels)
        # Files hold any colour below alpha 0. Nobody sees it, and it would tell images apart that look the same.
        yield pixels * (pixels[..., 3:] > 0) if config.channels == 4 else pixels


def _pad(image: Image.Image, side: int, where: str) -> Image.Image:
    """Centres the image on black, or on transparent black if it has alpha."""
    if max(image.size) > side:
        raise TrainingError(
            f"{where} has {_size(image.size)} pixels and does not fit into {side} × {side}; "
            "raise data.resolution, or add --set data.fit=crop"
        )
    canvas = Image.new(image.mode, (side, side))
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas


def _crop(image: Image.Image, side: int) -> Image.Image:
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    # Crops first: with resize's own box argument the filter would read pixels outside the box. Pillow resizes RGBA
    # premultiplied, so colours below alpha 0 do not bleed into the edges.
    return image.crop((left, top, left + short, top + short)).resize((side, side), Image.Resampling.LANCZOS)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"
