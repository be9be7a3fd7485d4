"""Chooses the training data among the Parquet files of a folder, as the Hugging Face Hub lays them out."""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from training.data.sources.folders import SkippedFiles
from training.data.sources.names import SPLITS, printable
from training.errors import TrainingError

_SHARD = re.compile(r"(?P<split>\w+(\.\w+)*)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?", re.ASCII)
_CONVERTED = re.compile(r"0\d{3}")


def split_of(path: str) -> str | None:
    """Returns the split that a Parquet file's path names in the manner of the Hugging Face Hub, or None.

    ``data/train-00000-of-00002.parquet``, ``train/0000.parquet`` and ``train.parquet`` belong to ``train``.
    """
    file = PurePosixPath(path)
    if shard := _shard(path):
        return shard["split"]
    if file.parent.name and _CONVERTED.fullmatch(file.stem):
        return file.parent.name
    stem = file.stem.casefold()
    return stem if stem in SPLITS else None


def is_shard(path: str) -> bool:
    """Returns whether a Parquet file has a shard's name, such as ``train-00000-of-00002.parquet``."""
    return _shard(path) is not None


def _shard(path: str) -> re.Match[str] | None:
    return _SHARD.fullmatch(PurePosixPath(path).stem)


def choose_shards(paths: Sequence[str], where: str, skipped: SkippedFiles) -> list[str]:
    """Returns the Parquet files of the training split, or all files if no path names a split.

    Adds the others to ``skipped``. Raises ``TrainingError`` if the choice is ambiguous.
    """
    splits = {path: split_of(path) for path in paths}
    named = sorted({split for split in splits.values() if split is not None})
    if not named:
        return list(paths)
    others = [path for path, split in splits.items() if split is None]
    if "train" not in named and (len(named) > 1 or others):
        and_others = f", {printable(others[0])}" if others else ""
        raise TrainingError(
            f"{where} holds the splits {', '.join(named)}{and_others} and no train: give one of its files, or a folder "
            "of them"
        )
    wanted = "train" if "train" in named else named[0]
    chosen = [path for path, split in splits.items() if split == wanted]
    folders = sorted({str(PurePosixPath(path).parent) for path in chosen})
    if len(folders) > 1:
        raise TrainingError(
            f"{where} holds several data sets, in {', '.join(printable(folder) for folder in folders)}: "
            "give one of these folders"
        )
    for path, split in splits.items():
        if split != wanted:
            skipped.add("shard of another split", path)
    for missing in _missing(chosen):
        skipped.add("shard that is missing", missing)
    return chosen


def _missing(paths: Sequence[str]) -> Iterator[str]:
    """Yields the names of shards that the count in the other names promises and that do not exist."""
    shards = [shard for path in paths if (shard := _shard(path))]
    present = {(shard["count"], int(shard["number"])) for shard in shards}
    for count in sorted({shard["count"] for shard in shards}):
        for number in range(int(count)):
            if (count, number) not in present:
                yield f"{shards[0]['split']}-{number:05d}-of-{count}.parquet"
