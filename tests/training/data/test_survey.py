"""A look at DATA finds its size, colours and labels, in all its parts and without decoding it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import training.data.survey as survey_module
from tests.training.sprites import write_sprites
from training.config.schema import DataConfig
from training.data.sources import tables
from training.data.survey import survey_images
from training.errors import TrainingError

READING = DataConfig(resolution=64, channels=4, fit="crop")
RNG = np.random.default_rng(0)


def write(path: Path, *shape: int) -> Path:
    """Writes noise of a shape: (height, width) in grey, or (height, width, 3) in colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, shape, np.uint8)).save(path)
    return path


def test_digits_are_small_grey_labelled_and_on_black(digits: Path) -> None:
    seen = survey_images(str(digits), READING)
    assert (seen.images, seen.size, seen.short_side) == (512, (28, 28), 28)
    assert (seen.grey, seen.transparent, seen.empty_corners) == (True, 0, 1)
    assert seen.labels is not None
    assert list(seen.labels) == [str(digit) for digit in range(10)]
    assert sum(seen.labels.values()) == 512


def test_sprites_are_transparent(tmp_path: Path) -> None:
    seen = survey_images(str(write_sprites(tmp_path / "icons", 20)), READING)
    assert (seen.transparent, seen.grey, seen.empty_corners) == (1, False, 1)
    assert seen.labels == {"disc": 10, "square": 10}


def test_sizes_that_differ_have_a_median(tmp_path: Path) -> None:
    for index, side in enumerate((40, 90, 200)):
        write(tmp_path / "photos" / f"{index}.png", side, 300, 3)
    seen = survey_images(str(tmp_path / "photos"), READING)
    assert (seen.size, seen.short_side) == (None, 90)
    assert (seen.grey, seen.transparent, seen.drawn, seen.empty_corners, seen.labels) == (False, 0, 0, 0, None)


@pytest.mark.parametrize(("colours", "drawn"), [(16, 1), (65, 0)])
def test_drawings_have_few_colours(tmp_path: Path, colours: int, drawn: int) -> None:
    palette = RNG.integers(0, 256, (colours, 3), np.uint8)
    Image.fromarray(palette[np.arange(64 * 64).reshape(64, 64) % colours]).save(tmp_path / "a.png")
    assert survey_images(str(tmp_path), READING).drawn == drawn


def test_a_small_photograph_is_no_drawing(tmp_path: Path) -> None:
    """It has at most 64 colours, as it has 64 pixels."""
    write(tmp_path / "a.png", 8, 8, 3)
    assert survey_images(str(tmp_path), READING).drawn == 0


def test_the_last_folder_is_looked_at_too(tmp_path: Path) -> None:
    """Folders are sorted by label, so the first images are all of one kind."""
    for index in range(300):
        write(tmp_path / "a" / f"{index:03d}.png", 8, 8)
    for index in range(30):
        write(tmp_path / "z" / f"{index:03d}.png", 16, 16, 3)
    seen = survey_images(str(tmp_path), READING)
    assert not seen.grey
    assert seen.size is None


def parquet(path: Path, count: int, group: int) -> Path:
    """Writes grey images whose sides are 10 + their position."""
    encoded = [write(path.parent / "one.png", 10 + index, 10 + index).read_bytes() for index in range(count)]
    pq.write_table(pa.table({"image": [{"bytes": one, "path": None} for one in encoded]}), path, row_group_size=group)
    return path


@pytest.mark.parametrize("group", [5, 60])
def test_all_parts_of_a_parquet_file_are_looked_at(tmp_path: Path, group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_module, "_HEADERS", 12)
    seen = survey_images(str(parquet(tmp_path / "a.parquet", 60, group)), READING)
    sides = [width for width, _ in seen.sizes]
    assert sides == sorted(set(sides)), "each once, in order"
    assert len(sides) == 12
    assert sides[0] < 16
    assert sides[-1] > 64


def test_a_row_group_that_is_too_large_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_SAMPLED_BYTES", 1)
    monkeypatch.setattr(tables, "_BATCH", 10)
    seen = survey_images(str(parquet(tmp_path / "a.parquet", 60, 60)), READING)
    assert seen.images == 60
    assert max(width for width, _ in seen.sizes) == 19, "the first batch"


@pytest.mark.parametrize(("side", "most"), [(8, 48), (1000, 12), (3000, 4)])
def test_few_pixels_are_decoded(tmp_path: Path, side: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "000.png", side, side)
    for index in range(1, 60):
        (tmp_path / f"{index:03d}.png").write_bytes((tmp_path / "000.png").read_bytes())
    opened = []
    real = survey_module.open_picture
    monkeypatch.setattr(
        survey_module, "open_picture", lambda source, *rest: opened.append(source) or real(source, *rest)
    )
    assert survey_images(str(tmp_path), READING).images == 60
    assert len(opened) == most


def test_broken_images_are_passed_over_and_nothing_else_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"torn")
    with pytest.raises(TrainingError, match=r"none of the images of .* that were looked at can be opened"):
        survey_images(str(tmp_path), READING)
    whole = write(tmp_path / "b.png", 64, 64, 3).read_bytes()
    (tmp_path / "c.png").write_bytes(whole[: len(whole) // 2])
    assert survey_images(str(tmp_path), READING).size == (64, 64)
    (tmp_path / "b.png").unlink()
    with pytest.raises(TrainingError, match=r"none of the images of .* that were looked at can be decoded"):
        survey_images(str(tmp_path), READING)
