"""DATA → training images: any source the ``datasets`` library reads, decoded once into a memory-mapped uint8 array.

The array lies in the user's cache, under a name made of where the images come from and how they are fitted, so a
second run on the same data starts at once. A fingerprint of the decoded images says what a run was trained on.
"""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from training.config import DataConfig

IMAGES_FILE = "images.npy"
LABELS_FILE = "labels.npy"
META_FILE = "meta.json"


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

    def __len__(self) -> int:
        return len(self.images)


def load_images(source: str, config: DataConfig) -> TrainingImages:
    """The training images of DATA: a folder (sub-folders are labels), a Parquet file, or a Hugging Face data set.

    Decodes them at the first call and maps them into memory at any other. Raises ``TrainingError``.
    """
    path = Path(source)
    with tempfile.TemporaryDirectory() as scratch:
        if path.exists():
            name, identity = path.resolve().name.removesuffix(".parquet"), _state_of(path)
            table = None
        else:
            # It takes half a second to import, and images that are mapped already need none of it.
            from training.decoding import read_hub

            name, table = source, read_hub(source)
            identity = table._fingerprint
        key = hashlib.sha256(json.dumps([identity, config.model_dump()]).encode()).hexdigest()[:32]
        folder = Path(platformdirs.user_cache_dir("figment")) / "datasets" / key
        if not folder.is_dir():
            from training.decoding import decode, read_local

            decode(table if table is not None else read_local(path, scratch), config, folder)
    return _map(name, folder)


def _state_of(path: Path) -> list[Any]:
    """What changes when the files of DATA do: names, sizes and times."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return [[str(file.resolve()), (stat := file.stat()).st_size, stat.st_mtime_ns] for file in files]


def _map(name: str, folder: Path) -> TrainingImages:
    meta = json.loads((folder / META_FILE).read_text())
    names = meta["label_names"]
    return TrainingImages(
        name=name,
        fingerprint=meta["fingerprint"],
        images=np.load(folder / IMAGES_FILE, mmap_mode="r"),
        labels=np.load(folder / LABELS_FILE) if names else None,
        label_names=tuple(names) if names else None,
        broken=tuple(meta["broken"]),
    )
