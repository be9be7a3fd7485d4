"""DATA → where its images come from: a folder, Parquet files, or a Hugging Face data set. Nothing is decoded here."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.config.schema import DataConfig
from training.data.sources.folders import File, Labelled, label, walk
from training.data.sources.names import printable
from training.data.sources.rows import Rows
from training.data.sources.shards import choose_shards, is_shard
from training.errors import TrainingError


@dataclass(frozen=True)
class Source:
    """Images that were found."""

    name: str
    identity: Any
    """Changes when the images do: names, sizes and times of files, as JSON takes them."""
    passed_over: dict[str, int]
    """What lies there and is not read → how often."""
    rows: Callable[[], Rows]
    """Opens the images. Raises ``TrainingError``."""


def find_source(data: str, config: DataConfig) -> Source:
    """The images of DATA. Raises ``TrainingError`` if there are none."""
    if not data.strip():
        raise TrainingError("DATA is empty; name a folder of images, a .parquet file, or a Hugging Face data set")
    path = Path(data)
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:  # it could not be written into the run's folder
        raise TrainingError(
            f"the path {printable(str(path.absolute()))} is not UTF-8: rename it, or give a link to it"
        ) from error
    if path.is_dir():
        return _folder(path, config)
    if not path.exists():
        return _hub(data, config)
    if path.suffix.lower() != ".parquet":
        raise TrainingError(f"{printable(data)} is neither a folder of images nor a .parquet file")
    about = path.stat()
    identity = [[str(path.resolve()), about.st_size, about.st_mtime_ns]]
    return Source(printable(path.stem), identity, {}, lambda: _parquet([path], config))


def _folder(path: Path, config: DataConfig) -> Source:
    tree, root = walk(path), path.resolve()
    name = printable(root.name or str(root)) if path.name in {"", ".."} else printable(path.name)
    if tree.tables and (not tree.images or any(is_shard(file.path) for file in tree.tables)):
        for file in tree.images:
            tree.passed_over.note("image beside Parquet files", file.path)
        chosen = choose_shards([file.path for file in tree.tables], printable(str(path)), tree.passed_over)
        files = [path / below for below in chosen]
        identity = _identity(str(root), [file for file in tree.tables if file.path in set(chosen)])
        return Source(name, identity, tree.passed_over.counted(), lambda: _parquet(files, config))
    for file in tree.tables:
        tree.passed_over.note(".parquet", file.path)
    found = label(tree, config.labels)
    passed_over = tree.passed_over.counted()
    if not found.files:
        there = f"; passed over: {said(passed_over)}" if passed_over else ""
        raise TrainingError(f"{printable(str(path))} holds no images{there}")
    return Source(name, _identity(str(root), found.files), passed_over, lambda: _files(path, found))


def _identity(root: str, files: list[File] | tuple[File, ...]) -> list[Any]:
    return [root, [[file.path, file.size, file.modified] for file in files]]


def _files(path: Path, found: Labelled) -> Rows:
    return Rows(
        images=({"bytes": None, "path": os.fspath(path / file.path)} for file in found.files),
        count=len(found.files),
        labels=None if found.labels is None else np.array(found.labels, dtype=np.int64),
        label_names=None if found.label_names is None else list(found.label_names),
    )


def _parquet(paths: list[Path], config: DataConfig) -> Rows:
    # It takes half a second to import, and images that are decoded already need none of it.
    from training.data.sources.tables import parquet_rows

    return parquet_rows(paths, config)


def _hub(name: str, config: DataConfig) -> Source:
    from training.data.sources.tables import hub_rows, read_hub

    table = read_hub(name)
    return Source(name, table._fingerprint, {}, lambda: hub_rows(table, config))


def said(counts: Mapping[str, int]) -> str:
    """Counts of things in words: ``4 .heic, 1 broken``."""
    return ", ".join(f"{count} {what}" for what, count in counts.items())
