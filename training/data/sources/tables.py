"""Reads rows of Parquet files and Hugging Face data sets; finds the columns that hold images and labels."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from training.config.schema import DataConfig
from training.data.sources.names import are_numerals, printable, sorted_names
from training.data.sources.rows import Row, Rows, one_line, spread
from training.errors import TrainingError

_LABEL_NAMES = {"label", "labels", "class", "target", "category"}
_LABEL_TYPE = re.compile("u?int|bool|string|large_string")
_BATCH = 64
_SAMPLED_GROUPS = 16
"""Row groups, of all files together, that a sample is read from."""
_SAMPLED_BYTES = 128 * 2**20
"""Most bytes of images that are read for a sample. MNIST has 17 MB, CIFAR-10 46 MB, each in one row group."""


def parquet_rows(paths: Sequence[Path], config: DataConfig) -> Rows:
    """Returns the rows of Parquet files, one file after the other. Raises ``TrainingError``."""
    try:
        return _parquet_rows(paths, config)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(paths[0], error) from error


def _unreadable(path: Path, error: Exception) -> TrainingError:
    return TrainingError(f"cannot read images from {printable(str(path))}: {one_line(error)}")


def _parquet_rows(paths: Sequence[Path], config: DataConfig) -> Rows:
    image = label = feature = None
    count, values = 0, []
    for path in paths:
        with path.open("rb") as stream:
            file = pq.ParquetFile(stream)
            features = datasets.Features.from_arrow_schema(file.schema_arrow)
            columns = image_column(features, config), label_column(features, config)
            if path == paths[0]:
                (image, label), feature = columns, features.get(columns[1])
            elif columns != (image, label) or features.get(label) != feature:
                raise TrainingError(
                    f"{printable(path.name)} has other columns than {printable(paths[0].name)}: "
                    f"{', '.join(features)}; give files of one data set"
                )
            count += file.metadata.num_rows
            if file.metadata.num_rows > path.stat().st_size:  # a few bytes can repeat a row billions of times
                raise TrainingError(
                    f"{printable(str(path))} claims {file.metadata.num_rows} rows in {path.stat().st_size} bytes: "
                    "they cannot all hold an image"
                )
            if label is not None:
                values += file.read(columns=[label]).column(label).to_pylist()
    labels, names = encode_labels(values, feature, label) if label is not None else (None, None)
    column = str(image)
    return Rows(_images(paths, column), count, labels, names, lambda wanted: _sample(paths, column, wanted))


def _sample(paths: Sequence[Path], column: str, wanted: int) -> list[Row]:
    """Returns at most ``wanted`` images from row groups of all files. Raises ``TrainingError``.

    Of groups that are too large to be read here, those at the beginning come.
    """
    groups = [(path, group) for path in paths for group in range(pq.read_metadata(path).num_row_groups)]
    chosen = [groups[index] for index in spread(len(groups), _SAMPLED_GROUPS)]
    rows: list[Row] = []
    for position, (path, group) in enumerate(chosen):
        share = (wanted - len(rows)) // (len(chosen) - position)
        rows += _sample_group(path, group, column, share, _SAMPLED_BYTES // len(chosen))
    return rows


def _sample_group(path: Path, group: int, column: str, wanted: int, limit: int) -> Iterator[Row]:
    """Yields at most ``wanted`` images of a row group, until ``limit`` bytes of it are read."""
    first = read = 0
    try:
        with path.open("rb") as stream:
            # With a buffer, only what is used of a group is read.
            file = pq.ParquetFile(stream, buffer_size=2**20)
            positions = deque(spread(file.metadata.row_group(group).num_rows, wanted))
            for batch in file.iter_batches(_BATCH, row_groups=[group], columns=[column]):
                while positions and positions[0] < first + len(batch):
                    yield _row(batch.column(column)[positions.popleft() - first].as_py())
                first, read = first + len(batch), read + batch.nbytes
                if not positions or read > limit:
                    return
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _row(value: Any) -> Row:
    """Returns an image as it stands in a Parquet file, which may come from strangers.

    Raises ``TrainingError`` if the row names a file instead of holding its bytes: that could be any file here.
    """
    if value is None or isinstance(value, bytes):
        return None if value is None else {"bytes": value, "path": None}
    content, path = value["bytes"], value.get("path")
    path = path if isinstance(path, str) else None
    if content is None and path:
        raise TrainingError(
            f"a row of the Parquet file names the image {printable(path)} and does not hold it; "
            "give the folder with the images instead"
        )
    return {"bytes": content, "path": path}


def _images(paths: Sequence[Path], column: str) -> Iterator[Row]:
    for path in paths:
        try:
            with path.open("rb") as stream:
                for batch in pq.ParquetFile(stream).iter_batches(_BATCH, columns=[column]):
                    yield from map(_row, batch.column(column).to_pylist())
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from error


def read_hub(name: str) -> datasets.Dataset:
    """Loads the training split of a Hugging Face data set. Raises ``TrainingError``."""
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(name, split="train")
    except Exception as error:  # the library passes on the errors of several HTTP clients
        raise TrainingError(
            f"{name} is no folder or file here, and no Hugging Face data set of that name could be loaded: "
            f"{one_line(error)}"
        ) from error


def hub_rows(table: datasets.Dataset, config: DataConfig) -> Rows:
    """Returns the rows of a Hugging Face data set. Raises ``TrainingError``."""
    image, label = image_column(table.features, config), label_column(table.features, config)
    labels, names = encode_labels(table[label][:], table.features[label], label) if label is not None else (None, None)
    pictures = table.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    return Rows(
        images=(row[image] for row in pictures),
        count=len(table),
        labels=labels,
        label_names=names,
        sample=lambda wanted: [pictures[index][image] for index in spread(len(table), wanted)],
    )


def image_column(features: datasets.Features, config: DataConfig) -> str:
    """Returns the column of images: the configured one, or the only one.

    Raises ``TrainingError`` if there is none, or if there are several.
    """
    by_kind = [[name for name, feature in features.items() if holds(feature)] for holds in _HOLDS_IMAGES]
    if config.image_column is not None:
        return _configured(
            "image_column", config.image_column, features, [name for kind in by_kind for name in kind], "images"
        )
    column = _only_candidate("image_column", next(filter(None, by_kind), []))
    if column is None:
        raise TrainingError(f"the data has no column of images; its columns are {', '.join(features)}")
    return column


def label_column(features: datasets.Features, config: DataConfig) -> str | None:
    """Returns the column of labels: the configured one, the only one, or None if there is none.

    Raises ``TrainingError`` if there are several.
    """
    if config.labels == "none":
        return None
    if config.label_column is not None:
        return _configured("label_column", config.label_column, features, list(features), "labels")
    return _only_candidate("label_column", [name for name, feature in features.items() if _is_label(name, feature)])


def _only_candidate(setting: str, candidates: list[str]) -> str | None:
    if len(candidates) > 1:
        also = ", or --set data.labels=none" if setting == "label_column" else ""
        raise TrainingError(
            f"the data has several columns of {'images' if setting == 'image_column' else 'labels'}: "
            f"{', '.join(candidates)}; choose one: --set data.{setting}={candidates[0]}{also}"
        )
    return candidates[0] if candidates else None


def _configured(setting: str, name: str, features: datasets.Features, candidates: list[str], what: str) -> str:
    if name not in features:
        raise TrainingError(f"data.{setting} is {name}, and the data's columns are {', '.join(features)}")
    if name not in candidates:
        raise TrainingError(f"data.{setting} is {name}, a column of {features[name]} and not of {what}")
    return name


def _is_image(feature: Any) -> bool:
    return isinstance(feature, datasets.Image)


def _holds_bytes(feature: Any) -> bool:
    """Returns whether a column has the layout of the Hub's images, in a file without its metadata."""
    return isinstance(feature, dict) and "bytes" in feature and _is_binary(feature["bytes"])


def _is_binary(feature: Any) -> bool:
    return isinstance(feature, datasets.Value) and feature.dtype in {"binary", "large_binary"}


_HOLDS_IMAGES = (_is_image, _holds_bytes, _is_binary)
"""In order of certainty: a later test applies only if no column passes an earlier one."""


def _is_label(name: str, feature: Any) -> bool:
    if isinstance(feature, datasets.ClassLabel) or name == "label":
        return True
    named = name.casefold() in _LABEL_NAMES or name.casefold().endswith("_label")
    return named and isinstance(feature, datasets.Value) and _LABEL_TYPE.match(feature.dtype) is not None


def encode_labels(values: Sequence[Any], feature: Any, column: str) -> tuple[NDArray[np.int64], list[str]]:
    """Returns labels int64 [N] as positions in the list of names, which are sorted by value if all are numerals.

    Raises ``TrainingError`` if an image has no label, or if a label is neither an integer nor a name.
    """
    missing = sum(value is None or value == -1 for value in values)
    if missing:
        raise TrainingError(f"{missing} of {len(values)} images have no label; label all of them or none")
    if isinstance(feature, datasets.ClassLabel):
        known: dict[Any, str] = {index: printable(name) for index, name in enumerate(feature.names)}
        if unknown := set(values) - known.keys():
            raise TrainingError(f"the column {column!r} names {len(known)} labels, and holds {min(unknown)}")
    elif all(isinstance(value, int | str) for value in values):
        known = {value: printable(str(value)) for value in sorted(set(values))}
    else:
        raise TrainingError(f"the column {column!r} must hold integers or names, not {feature}")
    names = list(dict.fromkeys(known.values()))
    if are_numerals(names):
        names = sorted_names(names)
    position = {name: index for index, name in enumerate(names)}
    return np.array([position[known[value]] for value in values], dtype=np.int64), names
