"""The rows of a data set → images decoded, fitted and written as one array."""

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import datasets
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from training.config import DataConfig
from training.console import console
from training.data import IMAGES_FILE, LABELS_FILE, META_FILE
from training.errors import TrainingError
from training.pictures import BrokenPictureError, open_picture


def read_local(path: Path, scratch: str) -> datasets.Dataset:
    """The rows of a folder or a Parquet file; ``scratch`` is a folder for what is needed as long as they are.

    Raises ``TrainingError``.
    """
    datasets.disable_progress_bars()
    if path.is_dir():
        builder, arguments = "imagefolder", {"data_dir": str(path)}
    elif path.suffix == ".parquet":
        builder, arguments = "parquet", {"data_files": str(path)}
    else:
        raise TrainingError(f"{path} is neither a folder of images nor a .parquet file")
    try:
        return datasets.load_dataset(builder, split="train", cache_dir=scratch, **arguments)
    except (datasets.exceptions.DatasetGenerationError, OSError, ValueError) as error:
        cause = error.__cause__ or error
        raise TrainingError(f"cannot read images from {path}: {_one_line(cause)}") from error


def read_hub(name: str) -> datasets.Dataset:
    """The rows of a Hugging Face data set. Raises ``TrainingError``."""
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(name, split="train")
    except Exception as error:  # the library lets errors of several HTTP clients through
        raise TrainingError(
            f"{name} is no folder or file here, and no Hugging Face data set of that name could be loaded: "
            f"{_one_line(error)}"
        ) from error


def decode(table: datasets.Dataset, config: DataConfig, folder: Path) -> None:
    """Writes the images, their labels and what is told of them into a new folder, whole or not at all.

    Raises ``TrainingError``.
    """
    if "image" not in table.column_names:
        raise TrainingError(f"the data has no column 'image'; its columns are {', '.join(table.column_names)}")
    if len(table) == 0:
        raise TrainingError("the data holds no images")
    labels, label_names = _labels_of(table)
    table = table.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))

    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        converted: Counter[str] = Counter()
        kept, broken = _write_images(table, config, draft / IMAGES_FILE, converted)
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
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, with the same result
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_images(
    table: datasets.Dataset, config: DataConfig, path: Path, converted: Counter[str]
) -> tuple[list[int], list[str]]:
    """Decodes into ``path``; returns the rows that are in it, and the files that are broken, each with the reason.

    Counts the conversions in ``converted``.

    Raises ``TrainingError`` if more are broken than ``broken_share`` allows, or all.
    """
    shape = (config.resolution, config.resolution, config.channels)
    allowed = int(config.broken_share * len(table))
    kept: list[int] = []
    broken: list[str] = []
    with path.open("wb") as file:
        _npy_header(file, (len(table), *shape))
        for index, image in enumerate(_fitted(table, config, converted)):
            if isinstance(image, str):
                broken.append(image)
            else:
                kept.append(index)
                file.write(image.tobytes())
        if len(broken) > allowed or not kept:
            shown = "; ".join(broken[:3]) + ("; …" if len(broken) > 3 else "")
            raise TrainingError(
                f"{len(broken)} of {len(table)} images cannot be decoded, and data.broken_share "
                f"{config.broken_share:g} allows {allowed}: {shown}"
            )
        file.seek(0)
        _npy_header(file, (len(kept), *shape))  # of the same length whatever the count
    return kept, broken


def _npy_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _labels_of(table: datasets.Dataset) -> tuple[NDArray[np.int64] | None, list[str] | None]:
    if "label" not in table.column_names:
        return None, None
    values = table["label"][:]
    missing = sum(value is None or value == -1 for value in values)
    if missing:
        raise TrainingError(f"{missing} of {len(values)} images have no label; label all of them or none")
    feature = table.features["label"]
    if isinstance(feature, datasets.ClassLabel):
        return np.array(values, dtype=np.int64), list(feature.names)
    if not all(isinstance(value, int | str) for value in values):
        raise TrainingError(f"the column 'label' must hold integers or names, not {feature}")
    distinct = sorted(set(values))
    position = {value: index for index, value in enumerate(distinct)}
    return np.array([position[value] for value in values], dtype=np.int64), [str(value) for value in distinct]


def _fitted(table: datasets.Dataset, config: DataConfig, converted: Counter[str]) -> Iterator[NDArray[np.uint8] | str]:
    """Each image uint8 [H, W, C], or what is broken about it; counts conversions in ``converted``."""
    first_size: tuple[int, int] | None = None
    rows = track(table, "Decoding images", len(table), console=console, disable=not console.is_terminal)
    for index, row in enumerate(rows):
        where = row["image"]["path"] or f"image {index}"
        source = row["image"]["bytes"]
        try:
            image, conversions = open_picture(row["image"]["path"] if source is None else source, config, where)
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
        yield np.asarray(image, dtype=np.uint8).reshape(config.resolution, config.resolution, config.channels)


def _pad(image: Image.Image, side: int, where: str) -> Image.Image:
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
    # Cropped first: resize's own box would let the filter reach beyond it.
    return image.crop((left, top, left + short, top + short)).resize((side, side), Image.Resampling.LANCZOS)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
