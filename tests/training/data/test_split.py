"""The images that the generator never sees: how many, which, and that it does not see them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from training.config.earlier import with_earlier_values
from training.config.files import load_config
from training.data.checks import check_data, summary
from training.data.dataset import TrainingImages, load_images
from training.data.loader import BatchLoader, batch_indices
from training.data.split import held_out_count, judge_split, training_indices
from training.errors import TrainingError
from training.parallel.distributed import Processes


def test_the_judge_sees_half_of_the_images() -> None:
    fit, unseen = judge_split(7)
    assert sorted([*fit, *unseen]) == list(range(7))
    assert len(fit) == 3


@pytest.mark.parametrize(
    ("images", "share", "held_out"),
    [(2000, 0.1, 200), (60_000, 0.1, 6000), (200, 0.1, 20), (190, 0.1, 0), (41, 0.5, 20), (2000, 0, 0)],
)
def test_a_share_is_held_out_unless_it_is_too_small_to_tell_anything(images: int, share: float, held_out: int) -> None:
    assert held_out_count(images, share) == held_out
    assert len(training_indices(images, share)) == images - held_out


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_what_is_held_out_the_judge_has_not_seen_either(share: float) -> None:
    held_out = set(range(201)) - set(training_indices(201, share).tolist())
    assert len(held_out) >= 20
    assert held_out <= set(judge_split(201)[1].tolist())


def numbered(count: int) -> TrainingImages:
    """Images whose pixels are their number."""
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2)
    return TrainingImages("numbered", "0" * 64, pixels, np.arange(count) % 5, tuple("abcde"))


def numbers_in_one_pass(share: float) -> list[int]:
    found: list[int] = []
    with BatchLoader(numbered(200), 5, 3, 20, Processes(0, 1, torch.device("cpu")), share) as loader:
        for seen in range(0, len(training_indices(200, share)), 20):
            reals, label = loader.take(seen)
            batch = ((reals[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
            assert label is not None
            assert label.tolist() == [number % 5 for number in batch]
            found += batch
    return found


def test_one_pass_of_training_shows_every_other_image_and_none_that_is_held_out() -> None:
    found = numbers_in_one_pass(0.2)
    assert len(found) == 160
    assert sorted(found) == training_indices(200, 0.2).tolist()


def test_without_a_holdout_the_order_is_that_of_earlier_versions() -> None:
    assert numbers_in_one_pass(0) == batch_indices(200, 3, 0, 200).tolist()


def test_the_share_does_not_decode_the_images_again(digits: Path) -> None:
    config = load_config("digits").data
    one, other = (load_images(str(digits), config.model_copy(update={"holdout": share})) for share in (0.0, 0.4))
    assert one.images.filename == other.images.filename  # type: ignore[attr-defined]


def test_the_report_says_how_many_are_held_out() -> None:
    assert summary(numbered(200), 0.1).endswith("; held out from the generator: 20")
    few = dataclasses.replace(numbered(60))
    assert summary(few, 0.1).endswith("; held out from the generator: none, since 10 % of 60 images are fewer than 20")
    assert "held out" not in summary(few)


def test_a_setting_that_came_later_means_what_it_did_before() -> None:
    recorded = {"name": "old", "data": {"resolution": 32}}
    assert with_earlier_values(recorded)["data"] == {"resolution": 32, "holdout": 0}
    assert recorded["data"] == {"resolution": 32}, "what was read stays as it is"
    assert with_earlier_values({"data": {"holdout": 0.2}}) == {"data": {"holdout": 0.2}}
    assert with_earlier_values(None) is None
    assert with_earlier_values({"data": None}) == {"data": None}


def test_twenty_images_are_too_few_and_one_sentence_says_for_what() -> None:
    data = numbered(20)
    with pytest.raises(TrainingError) as caught:
        check_data(load_config("digits"), data, needed_by_judge=162)
    assert str(caught.value) == (
        "the data holds 20 images, fewer than one batch of 32 and fewer than the 162 that a judge needs, half to learn "
        "from and half to compare with; lower batch_size: --set batch_size=16, and train without scores: "
        "--set judge=null; of fewer than 100 images a generator learns little but copies. Add images, or start from a "
        "run on similar ones: --init-from RUN"
    )
    check_data(load_config("digits", ["judge=null", "batch_size=16"]), data, needed_by_judge=162)


def test_a_batch_larger_than_what_is_left_to_train_on_is_told() -> None:
    with pytest.raises(
        TrainingError, match="200 images, fewer than one batch of 190 once 20 are held out; lower batch"
    ):
        check_data(load_config("digits", ["batch_size=190"]), numbered(200))


def test_a_label_whose_images_are_all_held_out_is_told() -> None:
    data = numbered(200)
    assert data.labels is not None
    hidden = np.setdiff1d(np.arange(200), training_indices(200, 0.1))[0]
    labels = np.where(data.labels == 4, 3, data.labels)
    labels[hidden] = 4
    lonely = dataclasses.replace(data, labels=labels)
    with pytest.raises(TrainingError, match=r"the label 'e' would be held out .* --set data\.holdout=0"):
        check_data(load_config("digits"), lonely)
    check_data(load_config("digits", ["data.holdout=0"]), lonely)
