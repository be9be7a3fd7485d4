"""Every generator of ``generators.py``, exported and packed once."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from tests.training.packing.generators import GENERATORS, Exported


class Packed(NamedTuple):
    """A generator, and its bundle in a folder of bundles."""

    name: str
    exported: Exported
    bundle: Path


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory, train: Callable[..., None]) -> Callable[[str], Packed]:
    """Returns a function that packs a generator by name, once, with no option but the folder and the name."""
    zoo = tmp_path_factory.mktemp("zoo")
    known: dict[str, Packed] = {}
    exporters = {exporter.__name__: exporter for exporter in GENERATORS}

    def pack(name: str) -> Packed:
        if name not in known:
            with torch.no_grad():
                exported = exporters[name](tmp_path_factory.mktemp(name))
            train("pack", exported.file, "--to", zoo, "--name", name.replace("_", "-"))
            known[name] = Packed(name, exported, zoo / name.replace("_", "-") / "1")
        return known[name]

    return pack
