"""DATA of every kind becomes the same array, and what cannot be treated is named."""

import re
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from training.config.schema import DataConfig
from training.data.cache import cache_folder
from training.data.dataset import load_images
from training.errors import TrainingError

PAD = DataConfig(resolution=32, channels=1, fit="pad")
CROP = DataConfig(resolution=8, channels=3, fit="crop")


def write(folder: Path, name: str, image: Image.Image) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def grey(size: tuple[int, int] = (10, 10), value: int = 7) -> Image.Image:
    return Image.new("L", size, value)


def test_a_parquet_file_is_decoded_once(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_images(str(digits), PAD)
    assert (first.name, len(first), first.images.shape) == ("digits", 512, (512, 32, 32, 1))
    assert first.label_names == tuple("0123456789")
    assert isinstance(first.images, np.memmap)
    assert not first.images[:, :2].any(), "28 pixels are padded to 32 with black"
    assert not first.images[:, -2:].any()

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("training.data.decoding.decode", refuse)
    again = load_images(str(digits), PAD)
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.images, first.images)


def test_the_images_are_those_in_the_file(digits: Path) -> None:
    table = datasets.load_dataset("parquet", data_files=str(digits), split="train")
    loaded = load_images(str(digits), PAD)
    for index in (0, 100, 511):
        np.testing.assert_array_equal(loaded.images[index, 2:-2, 2:-2, 0], np.asarray(table[index]["image"]))
        assert loaded.labels is not None
        assert loaded.labels[index] == table[index]["label"]


def test_sub_folders_are_labels(tmp_path: Path) -> None:
    write(tmp_path / "pets", "cat/a.png", grey(value=1))
    write(tmp_path / "pets", "cat/b.png", grey(value=2))
    write(tmp_path / "pets", "dog/c.png", grey(value=3))
    loaded = load_images(str(tmp_path / "pets"), PAD)
    assert (loaded.name, loaded.label_names) == ("pets", ("cat", "dog"))
    assert loaded.labels is not None
    values = {int(image[16, 16, 0]): label for image, label in zip(loaded.images, loaded.labels, strict=True)}
    assert values == {1: 0, 2: 0, 3: 1}


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    write(tmp_path, "a.png", grey())
    write(tmp_path, "b.png", grey())
    assert load_images(str(tmp_path), PAD).labels is None


def test_a_changed_file_is_decoded_anew(tmp_path: Path) -> None:
    write(tmp_path, "a.png", grey(value=1))
    before = load_images(str(tmp_path), PAD)
    write(tmp_path, "a.png", grey(value=200))
    after = load_images(str(tmp_path), PAD)
    assert before.fingerprint != after.fingerprint
    assert after.images[0, 16, 16, 0] == 200


def test_crop_takes_the_centre_and_any_size(tmp_path: Path) -> None:
    wide = Image.new("RGB", (40, 20), "red")
    wide.paste("blue", (10, 0, 30, 20))
    write(tmp_path, "wide.png", wide)
    write(tmp_path, "tall.png", Image.new("RGB", (16, 30), "blue"))
    loaded = load_images(str(tmp_path), CROP)
    np.testing.assert_array_equal(loaded.images, np.broadcast_to([0, 0, 255], (2, 8, 8, 3)))


def test_opaque_alpha_is_dropped(tmp_path: Path) -> None:
    write(tmp_path, "a.png", Image.new("RGBA", (8, 8), (1, 2, 3, 255)))
    assert load_images(str(tmp_path), CROP).images[0, 0, 0].tolist() == [1, 2, 3]


def mixed_sizes(folder: Path) -> None:
    write(folder, "a.png", grey())
    write(folder, "b.png", grey((12, 10)))


def too_large(folder: Path) -> None:
    write(folder, "a.png", grey((33, 20)))


def colour(folder: Path) -> None:
    write(folder, "a.png", Image.new("RGB", (10, 10), "red"))


def deep(folder: Path) -> None:
    write(folder, "a.tiff", Image.new("F", (10, 10), 255))


def broken(folder: Path) -> None:
    write(folder, "a.png", grey())
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:45])


def empty(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "notes.txt").write_text("no images here")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (mixed_sizes, r"b.png has 12 × 10 pixels, the images before it 10 × 10; .*data.fit=crop"),
        (too_large, r"a.png has 33 × 20 pixels and does not fit into 32 × 32"),
        (colour, r"a.png is in colour; add --set data.channels=3"),
        (deep, r"a.tiff \(it holds floating-point numbers from 255 to 255; only 8 bits, 16 bits and"),
        (broken, r"1 of 2 images cannot be decoded, and data.broken_share 0.01 allows 0: .*b.png"),
        (empty, r"data holds no images; passed over: 1 \.txt"),
    ],
)
def test_an_image_that_does_not_fit_is_named(tmp_path: Path, make: Callable[[Path], None], sentence: str) -> None:
    make(tmp_path / "data")
    cache = cache_folder()
    before = sorted(cache.rglob("*"))
    with pytest.raises(TrainingError, match=sentence):
        load_images(str(tmp_path / "data"), PAD)
    assert sorted(cache.rglob("*")) == before, "nothing half-written stays"


def test_broken_files_are_named_and_skipped_up_to_a_share(tmp_path: Path) -> None:
    for index in range(8):
        write(tmp_path / "data", f"{'even' if index % 2 == 0 else 'odd'}/{index}.png", grey(value=index))
    (tmp_path / "data" / "even" / "2.png").write_bytes(b"no image")
    (tmp_path / "data" / "odd" / "5.png").write_bytes(b"")
    loaded = load_images(str(tmp_path / "data"), PAD.model_copy(update={"broken_share": 0.25}))
    assert [int(image[16, 16, 0]) for image in loaded.images] == [0, 4, 6, 1, 3, 7]
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(loaded.broken) == 2
    assert "2.png (cannot identify image file" in loaded.broken[0]
    with pytest.raises(TrainingError, match=r"2 of 8 images cannot be decoded, and .* 0\.2 allows 1"):
        load_images(str(tmp_path / "data"), PAD.model_copy(update={"broken_share": 0.2}))


def test_missing_labels_are_counted(tmp_path: Path) -> None:
    image = {"bytes": (Path(__file__).parents[2] / "data" / "digits.parquet").read_bytes(), "path": None}
    table = datasets.Dataset.from_dict({"image": [image, image], "label": [0, None]})
    table.to_parquet(tmp_path / "half.parquet")
    with pytest.raises(TrainingError, match="1 of 2 images have no label"):
        load_images(str(tmp_path / "half.parquet"), PAD)


def test_a_file_without_images_names_its_columns(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"picture": [1], "label": [0]}).to_parquet(tmp_path / "odd.parquet")
    with pytest.raises(TrainingError, match="no column of images; its columns are picture, label"):
        load_images(str(tmp_path / "odd.parquet"), PAD)


def test_a_name_that_is_neither_here_nor_on_the_hub_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)  # without a network, its client tries for 20 seconds
    with pytest.raises(TrainingError, match=re.escape("nobody/nothing is no folder or file here")):
        load_images("nobody/nothing", PAD)


@pytest.mark.parametrize("path", ["nothing.parquet", "/nothing", "./nothing", "~nobody/nothing", "nothing/", "a/b/no"])
def test_what_can_only_be_a_path_is_not_asked_for_on_the_hub(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(TrainingError, match=f"^{re.escape(path)} is no folder or file here$"):
        load_images(path, PAD)


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("cores", [1, 4])
def test_threads_change_neither_the_order_nor_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder, cores: int, slow: bool
) -> None:
    """The first image that ends the command names it, even if a later one is decoded earlier."""
    monkeypatch.setattr("training.data.decoding._WORTH_THREADS", 0 if slow else 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)), raising=False)
    for number in range(150):
        write(tmp_path / f"whole-{cores}-{slow}", f"{number:03}.png", grey(value=number))
    loaded = load_images(str(tmp_path / f"whole-{cores}-{slow}"), CROP)
    assert loaded.images[:, 0, 0, 0].tolist() == list(range(150))
    for number in range(100):
        write(tmp_path / "bad", f"{number:03}.png", grey())
    write(tmp_path / "bad", "040.png", grey((400, 12)))
    write(tmp_path / "bad", "041.png", Image.new("RGB", (10, 10), "red"))
    write(tmp_path / "bad", "090.png", grey((12, 400)))
    with pytest.raises(TrainingError, match=r"040\.png has 400 × 12 pixels, the images before it 10 × 10"):
        load_images(str(tmp_path / "bad"), PAD)
    assert not recwarn.list


def test_stages_are_reported_with_their_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no terminal shows a progress bar, minutes of silence would look like a hang."""
    write(tmp_path / "timed", "a.png", grey())
    load_images(str(tmp_path / "timed"), CROP)
    assert re.fullmatch(r"decoding 1 images …\ndecoding 1 images: \d+\.\d s\n", capsys.readouterr().err)
