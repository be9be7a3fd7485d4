"""What cannot be trained on is told before the first step, in one sentence."""

import numpy as np
import pytest

from training.config.files import load_config
from training.data.checks import check_data, warn_unreadable
from training.data.dataset import TrainingImages
from training.errors import TrainingError

CONFIG = load_config("digits")
CHANCE = np.random.default_rng(0)


def images(count: int = 128, labels: list[int] | None = None, names: tuple[str, ...] | None = None) -> TrainingImages:
    return TrainingImages(
        name="some",
        fingerprint="0" * 64,
        images=CHANCE.integers(0, 255, (count, 32, 32, 1), dtype=np.uint8),
        labels=None if labels is None else np.resize(np.array(labels, dtype=np.int64), count),
        label_names=names,
        broken=tuple(f"{index}.png (torn)" for index in range(12)),
    )


def test_sound_data_passes() -> None:
    check_data(CONFIG, images(labels=[0, 1], names=("a", "b")))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (images(), "conditional but the data has no labels"),
        (images(labels=[0], names=("a",)), "every image has the same label; add --set conditional=false"),
        (images(labels=[0, 2], names=("a", "b", "c")), "no image has the label 'b'"),
        (images(count=31, labels=[0, 1], names=("a", "b")), "31 images, fewer than one batch of 32; lower batch_size"),
    ],
)
def test_unusable_data_is_reported(data: TrainingImages, sentence: str) -> None:
    with pytest.raises(TrainingError, match=sentence):
        check_data(CONFIG, data)


def test_identical_images_are_rejected() -> None:
    same = images(labels=[0, 1], names=("a", "b"))
    same.images[:] = same.images[0]
    with pytest.raises(TrainingError, match="all images are the same"):
        check_data(CONFIG, same)


def test_grey_images_in_colour_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    data = images()
    colour = TrainingImages(**{**vars(data), "images": data.images.repeat(3, axis=3)})
    check_data(load_config("digits", ["conditional=false", "data.channels=3"]), colour)
    assert "every image looked at is grey: --set data.channels=1" in capsys.readouterr().err


def test_broken_files_are_named_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    warn_unreadable(images())
    told = capsys.readouterr().err
    assert "passed over 12 files" in told
    assert "0.png (torn)" in told
    assert "and 2 more" in told
