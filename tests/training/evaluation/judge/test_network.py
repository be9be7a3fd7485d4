"""A judge is the same for the same data, is what its hash says, and is found again."""

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
from training.errors import TrainingError
from training.evaluation.judge.network import FEATURES, Judge, load_judge
from training.evaluation.judge.train import fit_and_holdout, judge_for, train_judge, useless_labels
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


def test_it_learns_labels_it_has_not_seen(judge: Judge) -> None:
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
        (np.random.RandomState(0).randint(0, 3, 512), "and the most frequent label alone on"),
    ],
    ids=["one", "row numbers", "pairs", "random"],
)
def test_labels_of_no_use_are_told_and_quarter_turns_learnt(
    labels: NDArray[np.int64], reason: str, digit_images: TrainingImages, capsys: pytest.CaptureFixture[str]
) -> None:
    """A judge of one label is right on 100 % of all images, one of row numbers on none, and neither sees anything."""
    data = relabelled(digit_images, labels)
    judge = train_judge(data, epochs=2)
    assert (judge.record.task, judge.record.label_names) == ("rotations", None)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("the labels of digits are of no use to a judge (")
    assert reason in told
    plain = train_judge(dataclasses.replace(data, labels=None, label_names=None), epochs=2)
    assert judge.record.sha256 == plain.record.sha256


def test_labels_that_can_be_learnt_are_of_use(digit_images: TrainingImages, judge: Judge) -> None:
    assert useless_labels(digit_images, judge.record.accuracy) is None
    assert useless_labels(dataclasses.replace(digit_images, labels=None, label_names=None)) is None
    rare = relabelled(digit_images, (np.arange(512) % 10 == 0).astype(np.int64))
    assert useless_labels(rare, accuracy=0.99) is None, "a rare label is no reason"
    assert useless_labels(rare, accuracy=0.9) is not None, "always the frequent one"


def test_a_kept_judge_of_labels_of_no_use_is_replaced(
    digit_images: TrainingImages, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_label = dataclasses.replace(relabelled(digit_images, np.zeros(512, np.int64)), fingerprint="e" * 64)
    judge.save(judges_folder() / f"{one_label.fingerprint}.pt")
    turns = train_judge(dataclasses.replace(digit_images, labels=None, label_names=None), epochs=1)
    monkeypatch.setattr(training.evaluation.judge.train, "train_judge", lambda data: turns)
    assert judge_for(one_label).record.task == "rotations"
    monkeypatch.setattr(training.evaluation.judge.train, "train_judge", lambda data: pytest.fail("trained twice"))
    assert judge_for(one_label).record.sha256 == turns.record.sha256


def test_it_learns_from_half_a_only(digit_images: TrainingImages) -> None:
    images, half_b = digit_images.images.copy(), fit_and_holdout(len(digit_images))[1]
    # Still legible: labels that the judge cannot read in half B count as being of no use.
    images[half_b] = np.where(images[half_b] > 9, images[half_b] - 9, 0)
    changed = dataclasses.replace(digit_images, images=images)
    one, other = train_judge(changed, epochs=8), train_judge(digit_images, epochs=8)
    assert one.record.task == "labels"
    assert one.record.sha256 == other.record.sha256


def test_the_halves_share_nothing_and_miss_nothing() -> None:
    a, b = fit_and_holdout(7)
    assert sorted([*a, *b]) == list(range(7))


def test_what_is_no_image_at_all_is_farther_than_what_is_blurred(judge: Judge, digit_images: TrainingImages) -> None:
    """A last layer alone can take an untrained generator's patterns for better than soft images of the right kind."""
    image = ImageSpec(height=32, width=32, channels=1)
    torch.manual_seed(0)
    generator = build_generator(SnganConfig(noise_dim=64, generator_width=16), image, 0).eval()
    patterns = sample(generator, torch.from_numpy(noise_for_seeds(range(512), 64)), None)
    soft = np.stack([np.asarray(Image.fromarray(each[..., 0]).filter(GaussianBlur(2))) for each in digit_images.images])

    def distance(images: NDArray[np.uint8]) -> float:
        moments = [Moments(FEATURES), Moments(FEATURES)]
        moments[0].add(judge(images)[0])
        moments[1].add(judge(digit_images.images)[0])
        return frechet_distance(*moments)

    assert distance(digit_images.images[:256]) < 0.1 * distance(soft[..., None]) < 0.1 * distance(patterns)


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


def test_the_cache_is_hit(digit_images: TrainingImages, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    few = dataclasses.replace(digit_images, fingerprint="f" * 64)
    monkeypatch.setattr(training.evaluation.judge.train, "train_judge", lambda data: judge)
    assert judge_for(few).name == judge.name
    assert (Path(platformdirs.user_cache_dir("figment")) / "judges" / f"{'f' * 64}.pt").is_file()
    monkeypatch.setattr(training.evaluation.judge.train, "train_judge", lambda data: pytest.fail("trained twice"))
    assert judge_for(few).name == judge.name


def test_a_changed_judge_is_refused(judge_file: Path, tmp_path: Path) -> None:
    content = torch.load(judge_file, weights_only=True)
    content["weights"]["classifier.bias"] += 1e-3
    torch.save(content, tmp_path / "changed.pt")
    with pytest.raises(TrainingError, match=r"changed\.pt has been changed: the SHA-256 of its weights is"):
        load_judge(tmp_path / "changed.pt")


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_what_is_no_judge_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    if content is None:
        torch.save({"weights": {}}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"other\.pt is no judge; python -m training judge writes one"):
        load_judge(path)


def test_a_judge_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no judge"):
        load_judge(tmp_path / "none.pt")


def test_images_of_another_size_are_refused(judge: Judge) -> None:
    with pytest.raises(TrainingError, match=r"knows images of 32 × 32 × 1 .* not of 28 × 28 × 1"):
        judge(np.zeros((2, 28, 28, 1), np.uint8))


def test_too_few_images_are_refused(digit_images: TrainingImages) -> None:
    few = dataclasses.replace(digit_images, images=digit_images.images[:161])
    with pytest.raises(TrainingError, match="holds 161 images; a judge of 80 features needs at least 162"):
        train_judge(few)
