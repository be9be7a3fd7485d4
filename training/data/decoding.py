"""Decodes the rows of a data set, fits them to the configured size, and writes them as one array."""

import hashlib
import json
import os
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from training.config.schema import DataConfig
from training.console import console, stage
from training.data.cache import IMAGES_FILE, LABELS_FILE, META_FILE, new_entry
from training.data.pictures import BrokenPictureError, open_picture
from training.data.sources.names import printable
from training.data.sources.rows import Row, Rows
from training.errors import TrainingError
from training.files import named_errors

_CHUNK = 32
"""Images that one thread decodes in one go."""
_WORTH_THREADS = 1e-3
"""Seconds an image from which on it is decoded on all cores."""


def decode(rows: Rows, config: DataConfig, folder: Path, check: Callable[[], None] = lambda: None) -> None:
    """Writes the images, their labels and ``meta.json`` into a new folder, whole or not at all.

    ``check`` is called once all are decoded, and may raise: then nothing is kept. Raises ``TrainingError``.
    """
    if rows.count == 0:
        raise TrainingError("the data holds no images")
    labels, label_names = rows.labels, rows.label_names
    converted: Counter[str] = Counter()

    with named_errors(folder), new_entry(folder) as draft:
        with stage(f"decoding {rows.count} images"):
            kept, broken = _write_images(rows, config, draft / IMAGES_FILE, converted)
        check()
        digest = hashlib.sha256()
        images = np.load(draft / IMAGES_FILE, mmap_mode="r")
        for first in range(0, len(images), _CHUNK):
            digest.update(images[first : first + _CHUNK])
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
    """Yields each image as uint8 [H, W, C], or why it is broken. Counts conversions in ``converted``.

    Raises ``TrainingError`` for the first image that ends the command.
    """
    first_size: tuple[int, int] | None = None
    progress = track(
        _decode_rows(rows.images, config),
        "Decoding images",
        rows.count,
        console=console,
        disable=not console.is_terminal,
    )
    for decoded in progress:
        if isinstance(decoded, TrainingError):
            raise decoded
        if isinstance(decoded, str):
            yield decoded
            continue
        first_size = first_size or decoded.size
        if config.fit == "pad" and decoded.size != first_size:
            raise TrainingError(
                f"{decoded.where} has {_size(decoded.size)} pixels, the images before it {_size(first_size)}; "
                "to crop and resize them all, add --set data.fit=crop"
            )
        if isinstance(decoded.pixels, TrainingError):
            raise decoded.pixels
        converted.update(decoded.conversions)
        yield decoded.pixels


@dataclass(frozen=True)
class _Decoded:
    """An image that is not broken."""

    where: str
    size: tuple[int, int]
    """Width and height in the file, in pixels."""
    conversions: list[str]
    pixels: NDArray[np.uint8] | TrainingError
    """uint8 [H, W, C], or why it does not fit."""


_Outcome = _Decoded | str | TrainingError
"""Of one row: its image, why it is broken, or an error that ends the command once its turn comes."""


def _decode_rows(images: Iterable[Row], config: DataConfig) -> Iterator[_Outcome]:
    """Decodes in order: slow images on all cores, since Pillow lets other threads run while it decodes and resizes.

    Small images are decoded one by one. Threads would wait for each other longer than they decode: MNIST took 6.7 s on
    two cores in two threads, and 3.0 s without.
    """
    indexed = enumerate(images)
    # Decoders' warnings name neither the file nor a remedy. Filters belong to the process, so no thread may set them.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = list(islice(indexed, _CHUNK))
        began = time.perf_counter()
        outcomes = _decode_chunk(first, config)
        seconds = time.perf_counter() - began
        yield from outcomes
        if seconds < _WORTH_THREADS * len(first):
            for row in indexed:
                yield from _decode_chunk([row], config)
            return
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with ThreadPoolExecutor(cores, thread_name_prefix="decoding") as pool:
            pending: deque[Future[list[_Outcome]]] = deque()
            try:
                while True:
                    while len(pending) < 2 * cores and (chunk := list(islice(indexed, _CHUNK))):
                        pending.append(pool.submit(_decode_chunk, chunk, config))
                    if not pending:
                        return
                    yield from pending.popleft().result()
            finally:  # at an error or a stop, too
                pool.shutdown(wait=False, cancel_futures=True)


def _decode_chunk(chunk: list[tuple[int, Row]], config: DataConfig) -> list[_Outcome]:
    return [_decode_row(index, row, config) for index, row in chunk]


def _decode_row(index: int, row: Row, config: DataConfig) -> _Outcome:
    """Decodes one row, and fits its image to the configured size."""
    if row is None or (row["bytes"] is None and row["path"] is None):
        return f"image {index} (is missing)"
    where = printable(row["path"] or f"image {index}")
    try:
        image, conversions = open_picture(row["path"] if row["bytes"] is None else row["bytes"], config, where)
    except BrokenPictureError as error:
        return f"{where} ({error})"
    except TrainingError as error:
        return error
    try:
        pixels: NDArray[np.uint8] | TrainingError = (_pad if config.fit == "pad" else _crop)(image, config, where)
    except TrainingError as error:
        pixels = error
    if config.channels == 4 and isinstance(pixels, np.ndarray):
        # Files hold any colour below alpha 0. Nobody sees it, and it would tell images apart that look the same.
        pixels = pixels * (pixels[..., 3:] > 0)
    return _Decoded(where, image.size, conversions, pixels)


def _pad(image: Image.Image, config: DataConfig, where: str) -> NDArray[np.uint8]:
    side = config.resolution
    if max(image.size) > side:
        raise TrainingError(
            f"{where} has {_size(image.size)} pixels and does not fit into {side} × {side}; "
            "raise data.resolution, or add --set data.fit=crop"
        )
    pixels = np.asarray(image).reshape(image.height, image.width, config.channels)
    if image.size == (side, side):
        return pixels
    top, left = (side - image.height) // 2, (side - image.width) // 2
    canvas = np.zeros((side, side, config.channels), np.uint8)
    canvas[top : top + image.height, left : left + image.width] = pixels
    return canvas


def _crop(image: Image.Image, config: DataConfig, where: str) -> NDArray[np.uint8]:
    side, short = config.resolution, min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    # Crops first: with resize's own box argument the filter would read pixels outside the box. Pillow resizes RGBA
    # premultiplied, so colours below alpha 0 do not bleed into the edges.
    square = image.crop((left, top, left + short, top + short)).resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(square).reshape(side, side, config.channels)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"
