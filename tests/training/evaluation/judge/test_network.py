"""A judge is reproducible, matches its hash, and is cached."""

import dataclasses
from pathlib import Path

import numpy as np
import platformdirs
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFilter import GaussianBlur

import training.evaluation.judge.train
from models.bundle import ImageSpec
from models.networks import build_generator
from models.networks.sngan import SnganConfig
from models.noise import noise_for_seeds
from training.data.cache import judges_folder
from training.data.dataset import TrainingImages
from training.data.split import judge_split
from training.errors import TrainingError
from training.evaluation.judge.network import FEATURES, Judge, load_judge
from training.evaluation.judge.train import find_judge, judge_for, train_judge, useless_labels
from training.evaluation.metrics.frechet import frechet_distance
from training.evaluation.metrics.moments import Moments
from training.runs.sampling import sample


def test_the_same_data_and_seed_give_the_same_weights(digit_images: TrainingImages) -> None:
    one, two, other = (train_judge(digit_images, epochs=1, seed=seed) for seed in (0, 0, 1))
    assert one.record.sha256 == two.record.sha256 != other.record.sha256


def test_training_leaves_the_global_random_state_alone(digit_images: TrainingImages) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train_judge(digit_images, epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_it_predicts_labels_of_unseen_images(judge: Judge) -> None:
    assert judge.record.task == "labels"
    assert judge.record.accuracy > 0.5, "ten labels: a guess is right in 0.1"


def test_without_labels_it_learns_quarter_turns(digit_images: TrainingImages) -> None:
    plain = dataclasses.replace(digit_images, labels=None, label_names=None)
    judge = train_judge(plain, epochs=8)
    assert judge.record.task == "rotations"
    assert judge.record.accuracy > 0.35, "four turns: a guess is right in 0.25"


def relabelled(data: TrainingImages, labels: NDArray[np.int64]) -> TrainingImages:
    names = tuple(map(str, range(int(labels.max()) + 1)))
    return dataclasses.replace(data, labels=labels, label_names=names)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros(512, np.int64), "all images have the same one"),
        (np.arange(512), "256 labels for 256 images leave fewer than 4 images a label"),
        (np.arange(512) // 4, "leave fewer than 4 images a label"),
        (np.random.RandomState(0).randint(0, 3, 512), "and the most frequent label alone"),
    ],
    ids=["one", "row numbers", "pairs", "random"],
)
def test_useless_labels_are_reported_and_quarter_turns_learnt(
    labels: NDArray[np.int64], reason: str, digit_images: TrainingImages, capsys: pytest.CaptureFixture[str]
) -> None:
    """A judge of one label predicts every image, one of row numbers none, and neither learns anything."""
    data = relabelled(digit_images, labels)
    judge = train_judge(data, epochs=2)
    assert (judge.record.task, judge.record.label_names) == ("rotations", None)
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("training the judge on ")]
    (message,) = lines
    assert message.startswith("the labels of digits are useless to a judge (")
    assert reason in message
    plain = train_judge(dataclasses.replace(data, labels=None, label_names=None), epochs=2)
    assert judge.record.sha256 == plain.record.sha256


def test_labels_that_can_be_learnt_are_not_useless(digit_images: TrainingImages, judge: Judge) -> None:
    assert useless_labels(digit_images, judge.record.accuracy) is None
    assert useless_labels(dataclasses.replace(digit_images, labels=None, label_names=None)) is None
    rare = relabelled(digit_images, (np.arange(512) % 10 == 0).astype(np.int64))
    assert useless_labels(rare, accuracy=0.99) is None, "a rare label is no reason"
    assert useless_labels(rare, accuracy=0.9) is not None, "always the frequent one"


def test_a_cached_judge_of_useless_labels_is_replaced(
    digit_images: TrainingImages, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_label = dataclasses.replace(relabelled(digit_images, np.zeros(512, np.int64)), fingerprint="e" * 64)
    judge.save(judges_folder() / f"{one_label.fingerprint}.pt")
    turns = train_judge(dataclasses.replace(digit_images, labels=None, label_names=None), epochs=1)
    monkeypatch.setattr(training.evaluation.judge.train, "train_judge", lambda data: turns)
    assert judge_for(one_label).record.task == "rotations"
    monkeypatch.setattr(training.evaluation.judge.train, "train_judge", lambda data: pytest.fail("trained twice"))
    assert judge_for(one_label).record.sha256 == turns.record.sha256


def test_it_learns_only_from_the_fit_split(digit_images: TrainingImages) -> None:
    images, unseen = digit_images.images.copy(), judge_split(len(digit_images))[1]
    # Still legible: labels that the judge cannot recognise in the unseen split count as useless.
    images[unseen] = np.where(images[unseen] > 9, images[unseen] - 9, 0)
    changed = dataclasses.replace(digit_images, images=images)
    one, other = train_judge(changed, epochs=8), train_judge(digit_images, epochs=8)
    assert one.record.task == "labels"
    assert one.record.sha256 == other.record.sha256


def test_patterns_are_farther_from_real_images_than_blurred_ones(judge: Judge, digit_images: TrainingImages) -> None:
    """The last layer alone can rate an untrained generator's patterns above blurred real images."""
    image = ImageSpec(height=32, width=32, channels=1)
    torch.manual_seed(0)
    generator = build_generator(SnganConfig(noise_dim=64, generator_width=16), image, 0).eval()
    patterns = sample(generator, torch.from_numpy(noise_for_seeds(range(512), 64)), None)
    blurred = np.stack(
        [np.asarray(Image.fromarray(each[..., 0]).filter(GaussianBlur(2))) for each in digit_images.images]
    )

    def distance(images: NDArray[np.uint8]) -> float:
        moments = [Moments(FEATURES), Moments(FEATURES)]
        moments[0].add(judge(images)[0])
        moments[1].add(judge(digit_images.images)[0])
        return frechet_distance(*moments)

    assert distance(digit_images.images[:256]) < 0.1 * distance(blurred[..., None]) < 0.1 * distance(patterns)


def test_features_are_few_and_of_unit_spread(judge: Judge, digit_images: TrainingImages) -> None:
    features, probabilities = judge(digit_images.images)
    assert features.shape == (512, FEATURES)
    assert 0.5 < np.sqrt(features.var(axis=0).mean()) < 2
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_a_file_gives_the_same_judge(judge: Judge, judge_file: Path, digit_images: TrainingImages) -> None:
    again = load_judge(judge_file)
    assert again.record == judge.record
    assert again.name == judge.name == f"fxd-digits-{judge.record.sha256[:8]}"
    assert np.array_equal(again(digit_images.images[:20])[0], judge(digit_images.images[:20])[0])


def test_a_cached_judge_is_found(digit_images: TrainingImages, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    few = dataclasses.replace(digit_images, fingerprint="f" * 64)
    monkeypatch.setattr(training.evaluation.judge.train, "train_judge", lambda data: judge)
    assert judge_for(few).name == judge.name
    assert (Path(platformdirs.user_cache_dir("figment")) / "judges" / f"{'f' * 64}.pt").is_file()
    monkeypatch.setattr(training.evaluation.judge.train, "train_judge", lambda data: pytest.fail("trained twice"))
    assert judge_for(few).name == judge.name


def test_a_changed_judge_is_rejected(judge_file: Path, tmp_path: Path) -> None:
    content = torch.load(judge_file, weights_only=True)
    content["weights"]["classifier.bias"] += 1e-3
    torch.save(content, tmp_path / "changed.pt")
    with pytest.raises(TrainingError, match=r"changed\.pt was changed: the SHA-256 of its weights is"):
        load_judge(tmp_path / "changed.pt")


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_another_file_is_rejected(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    if content is None:
        torch.save({"weights": {}}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"other\.pt is not a judge; python -m training judge writes one"):
        load_judge(path)


def test_a_missing_judge_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no judge"):
        load_judge(tmp_path / "none.pt")


def test_images_of_another_size_are_rejected(judge: Judge) -> None:
    with pytest.raises(TrainingError, match=r"takes images of 32 × 32 × 1 .* not of 28 × 28 × 1"):
        judge(np.zeros((2, 28, 28, 1), np.uint8))


def test_too_few_images_are_rejected(digit_images: TrainingImages) -> None:
    few = dataclasses.replace(digit_images, images=digit_images.images[:161])
    with pytest.raises(TrainingError, match="holds 161 images; a judge of 80 features needs at least 162"):
        train_judge(few)


def test_a_run_learns_at_its_start_that_there_are_too_few_images(digit_images: TrainingImages) -> None:
    """Its judge is trained at the first score only."""
    few = dataclasses.replace(digit_images, images=digit_images.images[:161], fingerprint="161f" * 16)
    with pytest.raises(TrainingError, match="digits holds 161 images; a judge of 80 features needs at least 162"):
        find_judge(few)
