"""``fd-lite0`` and ``kd-lite0`` are their formulas, at equal counts a side, with baselines and a full protocol."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import training.evaluation.shared.scores as shared
from training.data.dataset import TrainingImages
from training.evaluation.judge.network import Judge
from training.evaluation.metrics.kernel import unbiased_mmd2
from training.evaluation.reference import Reference
from training.evaluation.shared.judge import SharedJudge
from training.evaluation.shared.scores import FRECHET, KERNEL, SharedComparison

Images = NDArray[np.uint8]
DIM = 24
"""So few features that 256 images have a covariance."""


class FewFeatures:
    """A fixed random layer in place of the network."""

    seen = 0

    def __call__(self, images: Images) -> NDArray[np.float32]:
        FewFeatures.seen += len(images)
        weights = np.random.RandomState(0).randn(32 * 32, DIM) / 32
        features: NDArray[np.float32] = np.maximum(images.reshape(len(images), -1) / 64 @ weights, 0)
        return features.astype(np.float32)


@pytest.fixture
def reference(digit_images: TrainingImages, judge: Judge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Reference:
    """Real digits, 256 in each split, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shared, "SharedJudge", FewFeatures)
    monkeypatch.setattr(shared, "POOLED_DIM", DIM)
    return Reference(digit_images, judge)


def watch(comparison: SharedComparison, *repeats: Images) -> None:
    for images in repeats:
        parts = [images[first : first + 50] for first in range(0, len(images), 50)]
        watched = list(comparison.watch((part, None) for part in parts))
        assert [part is images for (images, _), part in zip(watched, parts, strict=True)] == [True] * len(parts)


def frechet(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    one, two = np.cov(a.astype(float), rowvar=False), np.cov(b.astype(float), rowvar=False)
    root = np.sqrt(np.linalg.eigvals(one @ two).astype(complex)).real.sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one) + np.trace(two) - 2 * root)


def blurred(images: Images) -> Images:
    return np.stack(
        [np.asarray(Image.fromarray(image[..., 0]).filter(ImageFilter.GaussianBlur(1)))[..., None] for image in images]
    )


def test_scores_are_the_formulas_on_equal_counts(reference: Reference) -> None:
    repeats = [blurred(reference.real_images(256))[order] for order in (slice(None), slice(None, None, -1))]
    comparison = SharedComparison(reference, 200)
    watch(comparison, *(np.concatenate([repeat, repeat]) for repeat in repeats))
    real, judge = FewFeatures()(reference.real_images(200)), FewFeatures()
    expected = {
        FRECHET: [frechet(real, judge(repeat[:200])) for repeat in repeats],
        KERNEL: [unbiased_mmd2(real, judge(repeat[:200])) for repeat in repeats],
    }
    scores = comparison.scores(seed=7)
    assert [score.metric for score in scores] == ["fd-lite0", "kd-lite0"]
    for score in scores:
        assert score.value == pytest.approx(np.mean(expected[score.metric]), rel=1e-3)
        assert score.deviation == pytest.approx(np.std(expected[score.metric], ddof=1), rel=2e-2, abs=1e-5)
        assert (score.judge, score.samples, score.better) == ("lite0", 200, "lower")
        assert score.floor is not None
        assert score.ceiling is not None
        assert score.floor < score.value < score.ceiling
        assert score.share == pytest.approx((score.value - score.floor) / (score.ceiling - score.floor))
        assert "mean of 2 × 200 generated images against 200 of the fit split, seeds from 7" in score.protocol
        assert "64 × 64 (bicubic, antialiased, rounded to uint8), D = 24" in score.protocol
        assert "floor from 200 real images" in score.protocol
    assert not comparison.left_out


def test_large_sets_use_one_count(reference: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Fréchet distance is biased by its count, so data sets compare only at the same one."""
    monkeypatch.setattr(shared, "IMAGES", 100)
    comparison = SharedComparison(reference, 256)
    watch(comparison, reference.real_images(256), reference.real_images(256))
    assert {score.samples for score in comparison.scores(0)} == {100}


def test_too_few_images_leave_the_frechet_distance_out(reference: Reference) -> None:
    comparison = SharedComparison(reference, DIM)
    watch(comparison, reference.real_images(DIM), reference.real_images(DIM))
    assert [score.metric for score in comparison.scores(0)] == [KERNEL]
    assert comparison.left_out == {
        FRECHET: f"needs more than {DIM} images a side, and {DIM} can be compared; read {KERNEL}"
    }


def test_a_floor_at_another_count_is_no_floor(reference: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer unseen images would make the Fréchet distance of real images look larger than it is."""
    unseen = Reference.unseen_batches
    monkeypatch.setattr(Reference, "unseen_batches", lambda self, count: unseen(self, 100))
    comparison = SharedComparison(reference, 200)
    watch(comparison, reference.real_images(200), reference.real_images(200))
    frechet_score, kernel_score = comparison.scores(0)
    assert (frechet_score.floor, frechet_score.share) == (None, None)
    assert kernel_score.floor is not None
    assert "floor from 100 real images" in kernel_score.protocol


def test_real_images_and_baselines_are_computed_once(reference: Reference) -> None:
    SharedComparison(reference, 200)
    seen = FewFeatures.seen
    assert seen > 0
    SharedComparison(reference, 200)
    assert FewFeatures.seen == seen


def degraded(images: Images, labels: NDArray[np.int64]) -> Iterator[tuple[str, list[Images]]]:
    """Growing degradations of real digits, equally many images at each step."""
    pictures = [Image.fromarray(image[..., 0]) for image in images[:80]]
    yield (
        "blur",
        [
            np.stack([np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)))[..., None] for picture in pictures])
            for radius in (0.0, 1.0, 2.0)
        ],
    )
    added = np.random.RandomState(0).randn(80, *images.shape[1:])
    yield (
        "noise",
        [(images[:80] + deviation * added).round().clip(0, 255).astype(np.uint8) for deviation in (0, 30, 90)],
    )
    yield "dropped labels", [np.asarray(images[np.resize(np.flatnonzero(labels < left), 80)]) for left in (10, 5, 1)]


def test_the_kernel_distance_grows_with_every_degradation(digit_images: TrainingImages) -> None:
    """With the network itself, on digits: no image of ImageNet looks like them."""
    judge = SharedJudge()
    images, labels = np.asarray(digit_images.images), digit_images.labels
    assert labels is not None
    real = judge(images[:80])
    for name, steps in degraded(images[80:], labels[80:]):
        values = [unbiased_mmd2(real, judge(step)) for step in steps]
        assert values == sorted(values), name
        assert abs(values[0]) < values[2] / 5, f"{name}: real images against real ones score about 0"


def test_data_sets_may_have_any_size_and_colour(digit_images: TrainingImages) -> None:
    """One judge for all: grey digits at 32 px and the same in colour at 48 px are hardly apart."""
    judge = SharedJudge()
    grey = np.asarray(digit_images.images[:60])
    colour = np.stack([np.asarray(Image.fromarray(image[..., 0]).resize((48, 48)).convert("RGB")) for image in grey])
    other = np.asarray(digit_images.images[60:120])
    assert unbiased_mmd2(judge(grey), judge(colour)) < unbiased_mmd2(judge(grey), judge(255 - other)) / 20


def test_labels_are_passed_on(reference: Reference) -> None:
    images, labels = reference.real_images(30), np.arange(30)
    comparison = SharedComparison(reference, 30)
    (batch,) = comparison.watch(iter([(images, labels)]))
    assert batch[1] is labels
