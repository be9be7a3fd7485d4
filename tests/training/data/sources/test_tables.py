"""Parquet files and data sets of the Hub: their images and labels are found whatever the columns are called."""

import io
import json
import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from training.config.files import load_config
from training.config.schema import DataConfig
from training.data.dataset import TrainingImages, load_images
from training.data.sources.shards import split_of
from training.errors import TrainingError
from training.runs.folder import RunFolder

GREY = DataConfig(resolution=16, channels=1, fit="pad")


HUB_LAYOUT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(value: int = 7) -> bytes:
    file = io.BytesIO()
    Image.new("L", (10, 10), value).save(file, "PNG")
    return file.getvalue()


def row(value: int = 7) -> dict[str, Any]:
    return {"bytes": png(value), "path": f"{value}.png"}


def write(path: Path, columns: dict[str, list[Any]], features: dict[str, Any] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if features is None:
        pq.write_table(pa.table(columns), path)
    else:
        datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(path)
    return path


def load(path: Path, **settings: Any) -> TrainingImages:
    return load_images(str(path), GREY.model_copy(update=settings))


def values(images: TrainingImages) -> list[int]:
    return [int(value) for value in images.images[:, 8, 8, 0]]


def labelled(images: TrainingImages) -> list[str]:
    """The name of each image's label."""
    assert images.labels is not None
    assert images.label_names is not None
    return [images.label_names[index] for index in images.labels]


IMAGE, KIND = datasets.Image(), datasets.ClassLabel(names=["cat", "dog"])


@pytest.mark.parametrize("image", ["image", "img", "picture"])
@pytest.mark.parametrize("label", ["label", "labels", "fine_label", "kind"])
def test_the_only_columns_of_images_and_labels_are_found(tmp_path: Path, image: str, label: str) -> None:
    columns = {"id": [5, 6], image: [row(1), row(2)], label: [1, 0]}
    features = {"id": datasets.Value("int64"), image: IMAGE, label: KIND}
    loaded = load(write(tmp_path / "a.parquet", columns, features))
    assert (values(loaded), labelled(loaded)) == ([1, 2], ["dog", "cat"])


@pytest.mark.parametrize(
    "images", [[row(1), row(2)], [png(1), png(2)], pa.array([png(1), png(2)], pa.large_binary())], ids=type
)
def test_images_are_known_by_their_type_where_no_features_are_written(tmp_path: Path, images: Any) -> None:
    path = write(tmp_path / "a.parquet", {"n": [1.5, 2.5], "photo": images, "category": ["b", "a"]})
    loaded = load(path)
    assert (values(loaded), labelled(loaded)) == ([1, 2], ["b", "a"])


def test_several_columns_are_asked_for(tmp_path: Path) -> None:
    columns = {"image": [row(1), row(2)], "mask": [row(3), row(4)], "fine_label": [0, 1], "coarse_label": [1, 1]}
    features = {"image": IMAGE, "mask": IMAGE, "fine_label": KIND, "coarse_label": KIND}
    path = write(tmp_path / "a.parquet", columns, features)
    with pytest.raises(TrainingError, match=r"of images: image, mask; choose one: --set data\.image_column=image"):
        load(path)
    with pytest.raises(TrainingError, match=r"of labels: fine_label, coarse_label; .*--set data\.label_column=fine_l"):
        load(path, image_column="mask")
    assert values(load(path, image_column="mask", label_column="fine_label")) == [3, 4]
    assert labelled(load(path, image_column="image", label_column="fine_label")) == ["cat", "dog"]
    assert load(path, image_column="image", labels="none").labels is None


def test_a_column_that_is_asked_for_and_is_not_right_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"image": [row()], "label": [0.5]})
    with pytest.raises(TrainingError, match=r"data\.image_column is img, and the data's columns are image, label"):
        load(path, image_column="img")
    with pytest.raises(TrainingError, match=r"data\.image_column is label, a column of .* and not of images"):
        load(path, image_column="label")
    with pytest.raises(TrainingError, match=r"the column 'label' must hold integers or names"):
        load(path)


@pytest.mark.parametrize("kind", [str, int])
def test_numerals_in_a_column_are_labels_in_order_of_value(tmp_path: Path, kind: type) -> None:
    numbers = [10, 9, 2, 0, 11]
    loaded = load(
        write(tmp_path / "a.parquet", {"image": [row(n) for n in numbers], "label": list(map(kind, numbers))})
    )
    assert loaded.label_names == ("0", "2", "9", "10", "11")
    assert labelled(loaded) == list(map(str, numbers))


def test_named_labels_keep_their_order_unless_they_are_numerals(tmp_path: Path) -> None:
    for names, expected in ((["ship", "car"], ("ship", "car")), (["1", "10", "2"], ("1", "2", "10"))):
        given = list(range(len(names)))
        features = {"image": IMAGE, "label": datasets.ClassLabel(names=names)}
        columns = {"image": [row(n) for n in given], "label": given}
        loaded = load(write(tmp_path / f"{names[0]}.parquet", columns, features))
        assert loaded.label_names == expected
        assert labelled(loaded) == names, "each image keeps its label"


def test_labels_beyond_the_names_are_rejected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"image": [row()], "label": [0]}, {"image": IMAGE, "label": KIND})
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, table.schema.field(1), [pa.array([5], pa.int64())]), path)
    with pytest.raises(TrainingError, match="the column 'label' names 2 labels, and holds 5"):
        load(path)


def test_a_missing_image_is_a_broken_row(tmp_path: Path) -> None:
    images = [row(1), None, row(3), {"bytes": None, "path": None}]
    path = write(tmp_path / "a.parquet", {"image": images, "label": ["a", "b", "b", "a"]})
    with pytest.raises(TrainingError, match=r"2 of 4 images cannot be decoded, .*image 1 \(is missing\); image 3"):
        load(path)
    loaded = load(path, broken_share=0.5)
    assert (values(loaded), labelled(loaded)) == ([1, 3], ["a", "b"])
    assert loaded.broken == ("image 1 (is missing)", "image 3 (is missing)")


def shard(folder: Path, name: str, *numbers: int) -> None:
    write(folder / name, {"image": [row(n) for n in numbers], "label": ["x", "y"] * (len(numbers) // 2)})


def test_a_folder_of_shards_is_a_data_set(tmp_path: Path) -> None:
    shard(tmp_path, "data/train-00001-of-00002.parquet", 3, 4)
    shard(tmp_path, "data/train-00000-of-00002.parquet", 1, 2)
    shard(tmp_path, "data/test-00000-of-00001.parquet", 5, 6)
    (tmp_path / "README.md").write_text("---\ndataset_info:\n---")
    Image.new("L", (9, 9)).save(tmp_path / "example.png")
    loaded = load(tmp_path)
    assert (values(loaded), labelled(loaded)) == ([1, 2, 3, 4], ["x", "y", "x", "y"])
    assert loaded.name == tmp_path.name
    assert loaded.skipped == {
        ".md": 1,
        "image beside Parquet files (example.png)": 1,
        "shard of another split (data/test-00000-of-00001.parquet)": 1,
    }
    shard(tmp_path, "data/train-00001-of-00002.parquet", 8, 9)
    assert values(load(tmp_path)) == [1, 2, 8, 9], "a changed shard is read anew"


def test_parquet_files_without_splits_are_all_read(tmp_path: Path) -> None:
    shard(tmp_path, "b.PARQUET", 3, 4)
    shard(tmp_path, "a[1].parquet", 1, 2)
    assert values(load(tmp_path)) == [1, 2, 3, 4]


def test_a_shard_that_is_missing_is_reported(tmp_path: Path) -> None:
    shard(tmp_path, "train-00000-of-00002.parquet", 1, 2)
    assert load(tmp_path).skipped == {"shard that is missing (train-00001-of-00002.parquet)": 1}


def test_shards_of_several_data_sets_are_asked_for(tmp_path: Path) -> None:
    for name in ("coarse", "fine"):
        shard(tmp_path, f"{name}/train-00000-of-00001.parquet", 1, 2)
    with pytest.raises(TrainingError, match="holds several data sets, in coarse, fine: give one of these folders"):
        load(tmp_path)
    shard(tmp_path / "other", "test-00000-of-00001.parquet", 1, 2)
    assert values(load(tmp_path / "other")) == [1, 2]
    shard(tmp_path / "other", "validation-00000-of-00001.parquet", 3, 4)
    with pytest.raises(TrainingError, match="holds the splits test, validation and no train"):
        load(tmp_path / "other")
    shard(tmp_path / "mixed", "test.parquet", 1, 2)
    shard(tmp_path / "mixed", "more.parquet", 3, 4)
    with pytest.raises(TrainingError, match=r"holds the splits test, more\.parquet and no train"):
        load(tmp_path / "mixed")


def test_shards_with_other_columns_are_rejected(tmp_path: Path) -> None:
    shard(tmp_path, "a.parquet", 1, 2)
    write(tmp_path / "b.parquet", {"image": [row()]})
    with pytest.raises(TrainingError, match=r"b\.parquet has other columns than a\.parquet: image"):
        load(tmp_path)


def test_a_torn_parquet_file_is_one_sentence(tmp_path: Path) -> None:
    shard(tmp_path, "a.parquet", *range(40))
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[:-100])
    with pytest.raises(TrainingError, match=r"cannot read images from .*a\.parquet"):
        load(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(whole[:4] + bytes(200) + whole[204:])
    with pytest.raises(TrainingError, match=r"cannot read images from .*a\.parquet"):
        load(tmp_path / "a.parquet")


def test_images_among_which_a_parquet_file_lies_stay_the_data(tmp_path: Path) -> None:
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    shard(tmp_path, "features.parquet", 1, 2)
    loaded = load(tmp_path)
    assert (len(loaded), loaded.skipped) == (1, {".parquet": 1})


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/train-00000-of-00001-abcdef0123456789.parquet", "train"),
        ("plain_text/unsupervised-00000-of-00001.parquet", "unsupervised"),
        ("default/train/0000.parquet", "train"),
        ("test.parquet", "test"),
        ("Train.PARQUET", "train"),
        ("train photos.parquet", None),
        ("0000.parquet", None),
        ("sales/2020.parquet", None),
        ("cats/pictures.parquet", None),
    ],
)
def test_the_hub_s_names_of_splits(path: str, split: str | None) -> None:
    assert split_of(path) == split


def test_a_data_set_of_the_hub_is_read_by_its_features(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features({"img": IMAGE, "fine_label": datasets.Value("string")})
    columns = {"img": [row(1), None, row(3)], "fine_label": ["10", "9", "9"]}
    table = datasets.Dataset.from_dict(columns, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: table)
    loaded = load_images("someone/something", GREY.model_copy(update={"broken_share": 0.5}))
    assert (values(loaded), labelled(loaded)) == ([1, 3], ["10", "9"])
    assert loaded.label_names == ("9", "10")
    assert loaded.images.dtype == np.uint8


def test_a_run_finds_a_file_of_the_hub_s_cache_again(tmp_path: Path) -> None:
    """There a name with an ending is a link to a file without one: what is kept is the name."""
    blob = write(tmp_path / "blobs" / "0123abcd", {"image": [row(1), row(2)]})
    link = tmp_path / "pictures.parquet"
    link.symlink_to(blob)
    loaded = load(link)
    assert loaded.name == "pictures"
    run = RunFolder.create(tmp_path / "run", load_config("digits", []), str(link), loaded)
    assert values(load(Path(run.data.source))) == [1, 2]


def test_a_row_that_names_a_file_is_refused_and_the_file_not_read(tmp_path: Path) -> None:
    """Whoever wrote the Parquet file could name any file of this machine, or a pipe that never ends."""
    os.mkfifo(tmp_path / "secret.png")
    path = tmp_path / "a.parquet"
    images = pa.array([{"bytes": None, "path": str(tmp_path / "secret.png")}] * 4, HUB_LAYOUT)
    pq.write_table(pa.table({"image": images}), path)
    with pytest.raises(TrainingError, match=r"names the image .*secret.png and does not hold it; give the folder"):
        load(path)


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        (pa.array([{"bytes": None, "path": 7}], pa.struct([("bytes", pa.binary()), ("path", pa.int64())])), "image 0"),
        (pa.array([{"bytes": None}], pa.struct([("bytes", pa.binary())])), "image 0"),
        (pa.array([7]), "the data has no column of images"),
        (pa.array([["a"]]), "the data has no column of images"),
    ],
)
def test_columns_of_other_types_than_the_metadata_say_are_refused(tmp_path: Path, column: Any, sentence: str) -> None:
    metadata = json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": column}).replace_schema_metadata({"huggingface": metadata}), path)
    with pytest.raises(TrainingError, match=sentence):
        load(path)


def test_labels_of_another_type_than_the_metadata_say_are_refused(tmp_path: Path) -> None:
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["a", "b"]}}
    table = pa.table({"image": pa.array([{"bytes": b"x", "path": None}], HUB_LAYOUT), "label": pa.array([{"a": 1}])})
    path = tmp_path / "a.parquet"
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path)
    with pytest.raises(TrainingError, match="the column 'label' must hold integers or names, not"):
        load(path)


def test_a_million_rows_in_a_few_kilobytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"image": pa.nulls(10**6, pa.binary()), "label": pa.array(np.zeros(10**6, np.int64))}), path
    )
    assert path.stat().st_size < 2**14
    with pytest.raises(TrainingError, match=r"claims 1000000 rows in \d+ bytes: they cannot all hold an image"):
        load(path)
