"""The trained networks that a run starts from: a copy in its folder, which needs the other run no longer."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.bundle import DatasetRecord, InitialRecord
from models.strict import StrictModel
from training.errors import TrainingError
from training.files import atomic_file
from training.tensor_files import read_tensors

RECORD_FILE = "initial.json"
NETWORKS_FILE = "initial.pt"


class InitialSource(StrictModel):
    """Where the networks come from, as ``initial.json`` keeps it."""

    run: str
    """Path of the run's folder at that time."""
    record: InitialRecord


@dataclass(frozen=True)
class InitialNetworks:
    """The networks of a run at one of its checkpoints."""

    source: InitialSource
    generator: dict[str, Tensor]
    discriminator: dict[str, Tensor]
    emas: dict[int, dict[str, Tensor]]
    """Half-life in images → EMA of the generator."""

    @classmethod
    def of(cls, path: Path, name: str, dataset: DatasetRecord, checkpoint: dict[str, Any]) -> "InitialNetworks":
        """Returns the networks in the content of a checkpoint; ``name`` and ``dataset`` are those of its run."""
        prefix = "average_"
        networks = {
            "generator": checkpoint["generator"],
            "discriminator": checkpoint["discriminator"],
            "emas": {int(key.removeprefix(prefix)): checkpoint[key] for key in checkpoint if key.startswith(prefix)},
        }
        record = InitialRecord(
            name=name,
            dataset=dataset,
            images_seen=checkpoint["images_seen"] + checkpoint.get("images_before", 0),
            weights=_sha256(networks),
        )
        return cls(InitialSource(run=str(path.absolute()), record=record), **networks)

    def write(self, folder: Path) -> None:
        """Writes both files into a run's folder."""
        networks = {"generator": self.generator, "discriminator": self.discriminator, "emas": self.emas}
        with atomic_file(folder / NETWORKS_FILE, one_writer=True) as file:
            torch.save(networks, file)
        with atomic_file(folder / RECORD_FILE, one_writer=True) as file:
            file.write((self.source.model_dump_json(indent=2) + "\n").encode())


def read_source(folder: Path) -> InitialSource | None:
    """Returns where a run's first networks come from; None if they were random. Raises ``ValueError`` if damaged."""
    path = folder / RECORD_FILE
    return InitialSource.model_validate_json(path.read_bytes()) if path.exists() else None


def read_networks(folder: Path, source: InitialSource) -> InitialNetworks:
    """Returns the networks that a run starts from. Raises ``TrainingError`` if its copy is missing or damaged."""
    path = folder / NETWORKS_FILE
    try:
        networks = read_tensors(path)
        intact = _sha256(networks) == source.record.weights
    except Exception as error:  # the file may hold anything by any name
        raise TrainingError(f"cannot read {path}, the networks that the run starts from ({error})") from error
    if not intact:
        raise TrainingError(f"{path} does not hold the networks that the run starts from: its fingerprint differs")
    return InitialNetworks(source, **networks)


def _sha256(networks: dict[str, Any]) -> str:
    """Returns the SHA-256 over the names, types, shapes and values of all tensors."""
    digest = hashlib.sha256()

    def update(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, nested in value.items():
                update(f"{prefix}/{key}", nested)
        else:
            digest.update(f"{prefix} {value.dtype} {list(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())

    update("", networks)
    return digest.hexdigest()
