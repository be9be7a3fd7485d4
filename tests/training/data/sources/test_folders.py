"""A folder of images is read as a person sees it: no name is a split or a pattern, and what is left out is told."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import training.data.cache
from training.config.schema import DataConfig
from training.data.checks import summary
from training.data.dataset import TrainingImages, load_images
from training.data.sources.folders import label_by_folder, scan_folder
from training.data.sources.names import printable, sorted_names
from training.errors import TrainingError

GREY = DataConfig(resolution=16, channels=1, fit="pad")
LAST = GREY.model_copy(update={"labels": "last_folder"})
NONE = GREY.model_copy(update={"labels": "none"})


def put(folder: Path, *names: str, value: int = 7) -> None:
    """Writes a small grey image under each name, in the format of PNG whatever the name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (10, 10), value).save(path, "PNG")


def load(folder: Path | str, config: DataConfig = GREY) -> TrainingImages:
    return load_images(str(folder), config)


def counts(images: TrainingImages) -> dict[str, int]:
    """Label → how many images have it."""
    assert images.labels is not None
    assert images.label_names is not None
    return dict(Counter(images.label_names[index] for index in images.labels))


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [
        ("labelled", "8db7d0932723c0cbc583d9d9d918b8b7dbcce6e3b00898a7a6c06b7a1c7e01c6"),
        ("flat", "d764cf915fa5f474136a824c643b7889301cddcfd43d9499b61e1db38cf91599"),
        ("one folder", "56942bc9e2100ce282971121531ce54fd0dc5752e65be2f571e2b2b227669c3f"),
        ("one folder and images", "fd40904b4574d5ddb6185d07536e510282f619aa0c0a9c1d7e3d63edf5c132b8"),
    ],
)
def test_runs_of_earlier_versions_find_their_images(tmp_path: Path, name: str, fingerprint: str) -> None:
    """The fingerprints are those of the version that read folders with ``datasets``: same images, order and labels."""
    names = {
        "labelled": "cat/b cat/a cat/B cat/10 cat/9 cat-a/x cat_a/y dog/c Äh/ü",
        "flat": "b a B 10 9 ü a-b",
        "one folder": "x/b x/a",
        "one folder and images": "x/b x/a y x-y",
    }[name]
    for index, path in enumerate(names.split()):
        put(tmp_path / "data", f"{path.replace('_', ' ')}.png", value=index + 1)
    loaded = load(tmp_path / "data")
    assert loaded.fingerprint == fingerprint
    assert summary(loaded).startswith(f"data: {len(names.split())} images, ")
    assert (loaded.labels is None) == (name != "labelled")


@pytest.mark.parametrize("name", ["train", "test", "eval", "data", "validation"])
def test_a_folder_named_like_a_split_is_a_label(tmp_path: Path, name: str) -> None:
    put(tmp_path, *(f"car/{index}.png" for index in range(3)), *(f"{name}/{index}.png" for index in range(5)))
    put(tmp_path, "ship/0.png")
    assert counts(load(tmp_path)) == {"car": 3, name: 5, "ship": 1}


@pytest.mark.parametrize("name", ["test.png", "red train 3.png", "eval-1.png", "train_0001.png"])
def test_a_file_named_like_a_split_is_an_image(tmp_path: Path, name: str) -> None:
    put(tmp_path, "a.png", "b.png", name)
    (tmp_path / "instruction.md").write_text("# how to")
    loaded = load(tmp_path)
    assert len(loaded) == 3
    assert loaded.skipped == {".md": 1}


def test_the_names_of_splits_as_only_labels_are_reported(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/a.png", "train/dog/b.png", "test/cat/c.png")
    assert "named like parts of a data set: for one of them, give its folder as DATA" in summary(load(tmp_path))
    assert counts(load(tmp_path / "train")) == {"cat": 1, "dog": 1}


@pytest.mark.parametrize(
    "name", ["set[1]", "shoot?", "photos [2020]", "*", "a::b", "{a,b}", "$HOME", "~", "a b%20", "**"]
)
def test_a_name_is_never_a_pattern(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "set1/x.png", "shoot1/x.png", "a/x.png", "b/x.png", value=1)
    put(tmp_path / name, f"{name}/{name}.png", value=200)
    monkeypatch.chdir(tmp_path)
    for data in (tmp_path / name, name):
        loaded = load(data)
        assert loaded.images[:, 8, 8, 0].tolist() == [200]
        assert loaded.name == name


def test_a_name_of_parquet_is_never_a_pattern(tmp_path: Path, digits: Path) -> None:
    for name in ("set[1].parquet", "shoot?.parquet", "a::b.parquet", "$HOME.PARQUET", "x*.Parquet"):
        (tmp_path / name).write_bytes(digits.read_bytes())
        loaded = load(tmp_path / name, DataConfig(resolution=32, channels=1, fit="pad"))
        assert (len(loaded), loaded.name) == (512, name.rsplit(".", 1)[0])
        assert loaded.fingerprint == "c0313f0788d324dec3d1fdb03e71c1ee54df1a4b6180733a137797d9bc1376fc"


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "store", "dogs/1.png", "dogs/2.png", "one.png")
    put(tmp_path / "data", "cat/1.png", "bird/1.png")
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "store" / "dogs")
    (tmp_path / "data" / "cat" / "2.png").symlink_to(tmp_path / "store" / "one.png")
    (tmp_path / "data" / "cat" / "gone.png").symlink_to(tmp_path / "store" / "gone.png")
    loaded = load(tmp_path / "data")
    assert counts(loaded) == {"bird": 1, "cat": 2, "dog": 2}
    assert loaded.skipped == {"link to nothing (cat/gone.png)": 1}


def test_a_folder_that_links_reach_twice_is_read_once(tmp_path: Path) -> None:
    """Loops end, and images count where they lie and not where a link shows them."""
    put(tmp_path / "data", "cat/1.png", "dog/1.png", "dog/deep/2.png")
    (tmp_path / "data" / "a").symlink_to(tmp_path / "data" / "dog")
    (tmp_path / "data" / "dog" / "up").symlink_to(tmp_path)
    (tmp_path / "data" / "cat" / "self").symlink_to(".")
    loaded = load(tmp_path / "data")
    assert counts(loaded) == {"cat": 1, "dog": 2}
    assert loaded.skipped == {"links to a folder that is read already (a, cat/self, dog/up)": 3}


def test_a_linked_folder_that_holds_one_that_is_read_gives_the_rest(tmp_path: Path) -> None:
    put(tmp_path / "store", "x/1.png", "y/2.png")
    put(tmp_path / "data", "cat/1.png")
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "store" / "x")
    (tmp_path / "data" / "other").symlink_to(tmp_path / "store")
    assert counts(load(tmp_path / "data")) == {"cat": 1, "dog": 1, "other": 1}


@pytest.mark.parametrize("spelling", ["data/", "./data", "link", "data/cat/..", "."])
def test_the_same_folder_by_another_path_is_not_decoded_again(
    tmp_path: Path, spelling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "data", "cat/1.png", "dog/1.png")
    (tmp_path / "link").symlink_to("data")
    load(tmp_path / "data")
    monkeypatch.chdir(tmp_path / "data" if spelling == "." else tmp_path)
    monkeypatch.setattr("training.data.decoding.decode", None)
    assert load(spelling).name == ("link" if spelling == "link" else "data")


def test_files_that_are_no_images_are_reported_by_their_ending(tmp_path: Path) -> None:
    put(tmp_path, "a.JPG", "b.avif", "c.jfif", "noending", "IMG_1.jpg.json", "x.HEIC", "y.heic", "z.JXL", "n.txt")
    put(tmp_path, "Thumbs.db", "backup.zip", "paper.PDF", "film.mpg", "odd.jpg!large", "a." + "long" * 9)
    put(tmp_path, ".DS_Store", "._a.JPG", ".hidden/a.png", "__MACOSX/a.png", "@eaDir/a.png/THUMB.png")
    put(tmp_path, ".ipynb_checkpoints/a-checkpoint.png", ".thumbnails/a.png")
    (tmp_path / "README").write_text("no image")
    os.mkfifo(tmp_path / "pipe.png")
    loaded = load(tmp_path)
    assert len(loaded) == 4, "a.JPG, b.avif, c.jfif and the file without an ending that holds an image"
    assert loaded.skipped == {
        ".db": 1,
        ".heic": 2,
        ".jpg!large": 1,
        ".json": 1,
        ".jxl": 1,
        ".mpg": 1,
        ".pdf": 1,
        ".txt": 1,
        ".zip": 1,
        "file of another ending (a.longlonglonglonglonglonglonglonglong)": 1,
        "file of no regular kind (pipe.png)": 1,
        "file without an ending (README)": 1,
        "folders of a file server (@eaDir, __MACOSX)": 2,
    }
    assert loaded.broken == ()


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    put(tmp_path / "data", "a.heic", "b.heic")
    with pytest.raises(TrainingError, match=r"data holds no images; passed over: 2 \.heic$"):
        load(tmp_path / "data")


def test_the_first_folder_is_the_label(tmp_path: Path) -> None:
    put(tmp_path, "cat/2020/a.png", "cat/2021/b.png", "dog/2020/c.png", "dog/d.png")
    assert counts(load(tmp_path)) == {"cat": 2, "dog": 2}
    assert counts(load(tmp_path, LAST)) == {"2020": 2, "2021": 1, "dog": 1}
    assert load(tmp_path, NONE).labels is None
    assert len(load(tmp_path, NONE)) == 4


def test_images_beside_the_folders_are_reported_and_left_out(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "dog/b.png", "stray.png")
    (tmp_path / "bird").mkdir()
    (tmp_path / "fish" / "deep").mkdir(parents=True)
    loaded = load(tmp_path)
    assert counts(loaded) == {"cat": 1, "dog": 1}
    assert loaded.skipped == {
        "folders without images (bird, fish)": 2,
        "image beside the folders (stray.png)": 1,
    }
    assert len(load(tmp_path, NONE)) == 3


def test_mostly_strays_is_an_error_and_not_a_small_data_set(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "dog/b.png", "1.png", "2.png", "3.png")
    with pytest.raises(TrainingError, match=r"3 of 5 images lie directly in DATA, beside the folders cat, dog: .*none"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_metadata_is_reported_and_ignored(tmp_path: Path, name: str) -> None:
    put(tmp_path, "cat/a.png", "cat/b.png", "dog/c.png")
    (tmp_path / name).write_text("file_name,label\ncat/a.png,5\n")
    loaded = load(tmp_path)
    assert counts(loaded) == {"cat": 2, "dog": 1}
    assert loaded.skipped == {f"file of metadata ({name})": 1}


def test_numerals_sort_by_value() -> None:
    assert sorted_names(map(str, range(12))) == [str(number) for number in range(12)]
    assert sorted_names(["10", "-2", "1.5", "01", "1"]) == ["-2", "01", "1", "1.5", "10"]
    assert sorted_names(["10", "9", "ten"]) == ["10", "9", "ten"], "text, as soon as one is no numeral"


def test_folders_of_numerals_are_labels_in_order_of_value(tmp_path: Path) -> None:
    put(tmp_path, *(f"{number}/a.png" for number in range(12)))
    loaded = load(tmp_path)
    assert loaded.label_names == tuple(map(str, range(12)))
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9], "images keep the order of their paths"


def test_runs_studies_and_bundles_are_skipped(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "dog/b.png")
    before = load(tmp_path)
    for folder, files in {
        "runs/00000-digits": ("config.yaml", "data.json", "environment.json"),
        "zoo/digits/1": ("card.json", "generator.onnx"),
        "study": ("space.yaml", "judge.pt"),
        "evaluations/digits-1": ("scores.json", "evaluation.png"),
    }.items():
        put(tmp_path / folder, "reals.png", "samples/000.png", "samples.png", "evaluation.png")
        for file in files:
            (tmp_path / folder / file).touch()
    after = load(tmp_path)
    assert after.fingerprint == before.fingerprint
    assert after.images.filename == before.images.filename, "a run that grows does not make its data new"  # type: ignore[attr-defined]
    shown = "evaluations/digits-1, runs/00000-digits, study, …"
    assert after.skipped == {f"folders of a run, study or bundle ({shown})": 4}


def test_a_folder_that_cannot_be_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "cat/a.png", "dog/b.png", "locked/c.png")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("training.data.sources.folders.os.scandir", refuse)
    assert load(tmp_path).skipped == {"folder that cannot be read (locked)": 1}
    with pytest.raises(TrainingError, match=r"cannot read the folder .*locked: Permission denied"):
        load(tmp_path / "locked")


def test_a_deep_folder_is_read(tmp_path: Path) -> None:
    put(tmp_path, "cat/" + "d/" * 500 + "a.png", "dog/b.png")
    assert counts(load(tmp_path)) == {"cat": 1, "dog": 1}


def test_names_that_are_not_text_are_shown_as_escapes(tmp_path: Path) -> None:
    """Labels end in cards, XMP and archives, so they are text without control characters."""
    strange = os.fsdecode(b"caf\xe9")
    put(tmp_path / "data", f"{strange}/a.png", "new\nline/b.png", f"c/{strange}.png")
    (tmp_path / "data" / "c" / f"{strange}.png").write_bytes(b"no image")
    put(tmp_path / "data", "c/good.png")
    loaded = load(tmp_path / "data", GREY.model_copy(update={"broken_share": 0.5}))
    assert loaded.label_names == ("c", "caf\\xe9", "new\\x0aline")
    assert "caf\\xe9.png (cannot identify" in loaded.broken[0]
    json.dumps([loaded.broken, loaded.skipped, loaded.name], ensure_ascii=False).encode()
    assert printable("\u2028\x7f ü") == "\\u2028\\x7f ü"


def test_empty_data_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match="DATA is empty"):
        load("")


def test_a_path_that_is_not_text_is_rejected_and_a_link_to_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's folder says in JSON where its images lie."""
    put(tmp_path / os.fsdecode(b"caf\xe9"), "a.png")
    (tmp_path / "link").symlink_to(os.fsdecode(b"caf\xe9"))
    monkeypatch.chdir(tmp_path / "link")
    for data in (str(tmp_path / os.fsdecode(b"caf\xe9")), "."):
        with pytest.raises(TrainingError, match=r"caf\\xe9 is not UTF-8: rename it, or give a link"):
            load(data)
    assert len(load(tmp_path / "link")) == 1


def test_scanning_a_folder_needs_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pure function of a folder: paths below it, in order, and labels."""
    monkeypatch.setattr(training.data.cache.platformdirs, "user_cache_dir", None)
    put(tmp_path, "b/2.png", "a/1.png")
    found = label_by_folder(scan_folder(tmp_path), "first_folder")
    assert [file.path for file in found.files] == ["a/1.png", "b/2.png"]
    assert (found.labels, found.label_names) == ((0, 1), ("a", "b"))


def test_one_line_says_what_was_found() -> None:
    data = TrainingImages(
        name="photos",
        fingerprint="",
        images=np.zeros((316, 1, 1, 1), np.uint8),
        labels=np.repeat([0, 1, 2], [94, 103, 119]),
        label_names=("car", "ship", "train"),
        broken=("x.png (torn)",),
        converted={"turned upright": 12, "flattened": 3},
        skipped={".heic": 4},
    )
    assert summary(data) == (
        "photos: 316 images, 3 labels (car 94, ship 103, train 119); converted: 12 turned upright, 3 flattened; "
        "passed over: 4 .heic, 1 broken"
    )


def test_many_labels_are_shortened_and_similar_names_reported() -> None:
    names = (*(f"n{number:03d}" for number in range(99)), "N003 ")
    data = TrainingImages("x", "", np.zeros((100, 1, 1, 1), np.uint8), np.arange(100), names)
    said = summary(data)
    assert "100 labels (n000 1, n001 1," in said
    assert ", …, N003  1, nearly the same name: 'n003', 'N003 ')" in said
    assert len(said) < 250
