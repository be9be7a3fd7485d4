"""DATA → training images, decoded once into a memory-mapped uint8 array.

DATA is a folder, Parquet files, or a data set of the Hugging Face Hub. The array lies in the user's cache, under a name
made of where the images come from and how they are fitted, so a second run on the same data starts at once. A
fingerprint of the decoded images says what a run was trained on.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.config.schema import DataConfig
from training.data.cache import IMAGES_FILE, LABELS_FILE, META_FILE, datasets_folder, hold
from training.data.sources.read import Source, find_source

_RULES = 2
"""Raised when the same files would be read as other images; what was decoded under older rules is not used."""


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
    """Files that could not be decoded, each with the reason; they are not among the images."""
    converted: Mapping[str, int] = field(default_factory=dict)
    """What was done to images so that they fit → to how many."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """What lies in DATA beside the images → how often."""

    def __len__(self) -> int:
        return len(self.images)


def load_images(source: str, config: DataConfig) -> TrainingImages:
    """The training images of DATA: a folder, Parquet files, or a Hugging Face data set.

    Decodes them at the first call and maps them into memory at any other. Raises ``TrainingError``.
    """
    found = find_source(source, config)
    key = hashlib.sha256(json.dumps([_RULES, found.identity, config.model_dump()]).encode()).hexdigest()[:32]
    folder = datasets_folder() / key
    if not hold(folder, found.name):
        # Images that are mapped already need no decoder.
        from training.data.decoding import decode

        decode(found.rows(), config, folder)
        hold(folder, found.name)
    return _map(found, folder)


def _map(source: Source, folder: Path) -> TrainingImages:
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
        passed_over=source.passed_over,
    )
