"""Finds the images of DATA: a folder, Parquet files, or a Hugging Face data set. Decodes none of them."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.config.schema import DataConfig
from training.data.sources.folders import FoundFile, LabelledFiles, label_by_folder, scan_folder
from training.data.sources.names import printable
from training.data.sources.rows import Row, Rows, spread
from training.data.sources.shards import choose_shards, is_shard
from training.errors import TrainingError


@dataclass(frozen=True)
class ImageSource:
    """Images that were found and not decoded yet."""

    name: str
    identity: Any
    """Changes whenever the images do: the names, sizes and times of their files, as JSON values."""
    skipped: dict[str, int]
    """Reason → how many files and folders were skipped for it."""
    open_rows: Callable[[], Rows]
    """Opens the images. Raises ``TrainingError``."""
    identity_now: Callable[[], Any]
    """Returns ``identity`` as it has become meanwhile. Raises ``TrainingError``."""


def find_images(data: str, config: DataConfig) -> ImageSource:
    """Finds the images of DATA. Raises ``TrainingError`` if there are none."""
    if not data.strip():
        raise TrainingError("DATA is empty; name a folder of images, a .parquet file, or a Hugging Face data set")
    path = Path(data)
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:  # the run's folder records the path as UTF-8
        raise TrainingError(
            f"the path {printable(str(path.absolute()))} is not UTF-8: rename it, or give a link to it"
        ) from error
    if path.is_dir():
        return _find_in_folder(path, config)
    if not path.exists():
        if _can_only_be_a_path(data):
            raise TrainingError(f"{printable(data)} is no folder or file here")
        return _find_on_hub(data, config)
    if path.suffix.lower() != ".parquet":
        raise TrainingError(f"{printable(data)} is neither a folder of images nor a .parquet file")
    return ImageSource(
        printable(path.stem),
        _identity_of_file(path),
        {},
        lambda: _open_parquet([path], config),
        lambda: _identity_of_file(path),
    )


def _can_only_be_a_path(data: str) -> bool:
    """Returns whether DATA is no name of the Hub, which is ``NAME`` or ``OWNER/NAME``: asking there may take long."""
    return data.startswith(("/", ".", "~")) or data.endswith(("/", ".parquet")) or data.count("/") > 1


def _identity_of_file(path: Path) -> list[Any]:
    try:
        status = path.stat()
    except OSError as error:
        raise TrainingError(f"cannot read {printable(str(path))} ({error.strerror})") from error
    return [[str(path.resolve()), status.st_size, status.st_mtime_ns]]


def _find_in_folder(path: Path, config: DataConfig) -> ImageSource:
    scan, root = scan_folder(path), path.resolve()
    name = printable(root.name or str(root)) if path.name in {"", ".."} else printable(path.name)
    if scan.tables and (not scan.images or any(is_shard(file.path) for file in scan.tables)):
        for file in scan.images:
            scan.skipped.add("image beside Parquet files", file.path)
        chosen = choose_shards([file.path for file in scan.tables], printable(str(path)), scan.skipped)
        files = [path / below for below in chosen]
        identity = _identity(str(root), [file for file in scan.tables if file.path in set(chosen)])
        return ImageSource(
            name,
            identity,
            scan.skipped.counts(),
            lambda: _open_parquet(files, config),
            lambda: _find_in_folder(path, config).identity,
        )
    for file in scan.tables:
        scan.skipped.add(".parquet", file.path)
    found = label_by_folder(scan, config.labels)
    skipped = scan.skipped.counts()
    if not found.files:
        reasons = f"; passed over: {format_counts(skipped)}" if skipped else ""
        raise TrainingError(f"{printable(str(path))} holds no images{reasons}")
    return ImageSource(
        name,
        _identity(str(root), found.files),
        skipped,
        lambda: _open_files(path, found),
        lambda: _find_in_folder(path, config).identity,
    )


def _identity(root: str, files: list[FoundFile] | tuple[FoundFile, ...]) -> list[Any]:
    return [root, [[file.path, file.size, file.modified] for file in files]]


def _open_files(path: Path, found: LabelledFiles) -> Rows:
    def row(file: FoundFile) -> Row:
        return {"bytes": None, "path": os.fspath(path / file.path)}

    return Rows(
        images=(row(file) for file in found.files),
        count=len(found.files),
        labels=None if found.labels is None else np.array(found.labels, dtype=np.int64),
        label_names=None if found.label_names is None else list(found.label_names),
        sample=lambda wanted: [row(found.files[index]) for index in spread(len(found.files), wanted)],
    )


def _open_parquet(paths: list[Path], config: DataConfig) -> Rows:
    # Importing datasets takes half a second, which decoded images do not need.
    from training.data.sources.tables import parquet_rows

    return parquet_rows(paths, config)


def _find_on_hub(name: str, config: DataConfig) -> ImageSource:
    from training.data.sources.tables import hub_rows, read_hub

    table = read_hub(name)
    identity = table._fingerprint
    return ImageSource(name, identity, {}, lambda: hub_rows(table, config), lambda: identity)


def format_counts(counts: Mapping[str, int]) -> str:
    """Returns counts in words, such as ``4 .heic, 1 broken``."""
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())
