"""Images that change while they are decoded are refused, and nothing of them stays in the cache."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

import training.data.decoding
from training.config.schema import DataConfig
from training.data.cache import datasets_folder
from training.data.dataset import load_images
from training.errors import TrainingError

PAD = DataConfig(resolution=32, channels=1, fit="pad")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of images."""
    for index in range(40):
        Image.new("L", (8, 8), index).save(tmp_path / f"{index:02d}.png")
    return tmp_path


@pytest.fixture
def table(tmp_path: Path, digits: Path) -> Path:
    """A Parquet file."""
    path = tmp_path / "table.parquet"
    path.write_bytes(digits.read_bytes())
    return path


def disturb_while_decoding(monkeypatch: pytest.MonkeyPatch, disturb: Callable[[], object]) -> None:
    original = training.data.decoding._fitted_images

    def fitted(*given: Any) -> Iterator[Any]:
        images = original(*given)
        yield next(images)
        disturb()
        yield from images

    monkeypatch.setattr(training.data.decoding, "_fitted_images", fitted)


def entries() -> set[Path]:
    return set(datasets_folder().glob("[!.]*"))


@pytest.mark.parametrize("way", ["changed", "added", "removed", "gone"])
def test_a_folder_that_changes_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    ways = {
        "changed": lambda: Image.new("L", (8, 8), 255).save(folder / "39.png"),
        "added": lambda: Image.new("L", (8, 8), 255).save(folder / "40.png"),
        "removed": lambda: (folder / "00.png").unlink(),  # decoded already
        "gone": lambda: [path.unlink() for path in folder.iterdir()],
    }
    disturb_while_decoding(monkeypatch, ways[way])
    before = entries()
    with pytest.raises(TrainingError) as raised:
        load_images(str(folder), PAD)
    assert way == "gone" or "have changed while they were decoded" in str(raised.value)
    assert entries() == before


@pytest.mark.parametrize("way", ["changed", "shortened", "gone"])
def test_a_parquet_file_that_changes_is_refused(
    table: Path, digits: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    ways = {
        "changed": lambda: pq.write_table(pq.read_table(digits).slice(1), table),
        "shortened": lambda: table.write_bytes(digits.read_bytes()[:1000]),
        "gone": table.unlink,
    }
    disturb_while_decoding(monkeypatch, ways[way])
    before = entries()
    with pytest.raises(TrainingError):
        load_images(str(table), PAD)
    assert entries() == before
