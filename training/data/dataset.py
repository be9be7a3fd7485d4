"""Loads the images of DATA, decoded once into a memory-mapped uint8 array.

DATA is a folder, Parquet files, or a data set of the Hugging Face Hub. The array lies in the user's cache. Its name is
a hash of where the images come from and how they are fitted, so a second run on the same data starts at once. A
fingerprint of the decoded images identifies the data that a run was trained on.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.config.schema import DataConfig
from training.data.cache import IMAGES_FILE, LABELS_FILE, META_FILE, datasets_folder, mark_in_use
from training.data.sources.find import ImageSource, find_images
from training.data.sources.names import printable
from training.errors import TrainingError

_DECODING_VERSION = 2
"""Increased when the same files decode to other images. Images of an older version are decoded again."""

_NOT_DECODING = {"holdout", "balance"}
"""Settings of ``data`` that change no decoded image, and so no name of an entry in the cache."""


@dataclass(frozen=True)
class TrainingImages:
    """The decoded data set."""

    name: str
    fingerprint: str
    """SHA-256 over images, labels and label names."""
    images: NDArray[np.uint8]
    """uint8 [N, H, W, C], mapped from disk."""
    labels: NDArray[np.int64] | None
    """int64 [N], or None where the data has no labels."""
    label_names: tuple[str, ...] | None
    broken: tuple[str, ...] = ()
    """Files that could not be decoded, each with the reason. They are not among the images."""
    converted: Mapping[str, int] = field(default_factory=dict)
    """Conversion, such as ``turned upright`` → number of images that needed it."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Reason → how many files and folders of DATA were skipped for it."""

    def __len__(self) -> int:
        return len(self.images)


def load_images(source: str, config: DataConfig) -> TrainingImages:
    """Returns the training images of DATA: a folder, Parquet files, or a Hugging Face data set.

    The first call decodes them into the cache; later calls map them into memory. Raises ``TrainingError``.
    """
    found = find_images(source, config)
    decoding = config.model_dump(exclude=_NOT_DECODING)
    key = hashlib.sha256(json.dumps([_DECODING_VERSION, found.identity, decoding]).encode()).hexdigest()[:32]
    folder = datasets_folder() / key
    if not mark_in_use(folder, found.name):
        from training.data.decoding import decode  # images in the cache need no decoder

        decode(found.open_rows(), config, folder, lambda: _check_unchanged(source, found))
        mark_in_use(folder, found.name)
    return _map(found, folder)


def _check_unchanged(source: str, found: ImageSource) -> None:
    """Raises ``TrainingError`` if files of DATA have changed since they were found.

    Some images would be of before and some of after, and the cache would give them to every later run.
    """
    if found.identity_now() != found.identity:
        raise TrainingError(
            f"the images in {printable(source)} have changed while they were decoded; "
            "begin again once nothing writes to them"
        )


def _map(source: ImageSource, folder: Path) -> TrainingImages:
    meta = json.loads((folder / META_FILE).read_text())
    names = meta["label_names"]
    return TrainingImages(
        name=source.name,
        fingerprint=meta["fingerprint"],
        images=np.load(folder / IMAGES_FILE, mmap_mode="r"),
        labels=np.load(folder / LABELS_FILE) if names else None,
        label_names=tuple(names) if names else None,
        broken=tuple(meta["broken"]),
        converted=meta["converted"],
        skipped=source.skipped,
    )
