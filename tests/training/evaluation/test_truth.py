"""Generators whose truth is known get the scores that they deserve, on a set of a thousand images.

The world is made of four kinds of shapes, whose kind, place, size and brightness follow from five uniform numbers. So
a perfect generator, one that copies and one that has lost half of the modes can be written down.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.bundle import ImageSpec
from training.config.schema import DataConfig
from training.data.dataset import TrainingImages
from training.data.split import training_indices
from training.evaluation.evaluate import Evaluation, evaluate
from training.evaluation.judge.network import Judge
from training.evaluation.judge.train import train_judge
from training.evaluation.metrics.table import METRICS
from training.evaluation.reference import Reference
from training.evaluation.target import EvalTarget

Images = NDArray[np.uint8]
Uniform = NDArray[np.float64]

COUNT, HELD_OUT, SIDE, NUMBERS = 1000, 100, 16, 5
KINDS = ("disc", "square", "ring", "stripe")


def render(uniform: Uniform) -> Images:
    """Draws images uint8 [N, SIDE, SIDE, 1] from N × NUMBERS numbers of 0 … 1."""
    kind, x, y, size, light = (column[:, None, None] for column in uniform.T)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    across, down = columns - (4 + 8 * x), rows - (4 + 8 * y)
    radius, distance = 2 + 2 * size, np.hypot(across, down)
    inside = np.select(
        [kind < 0.25, kind < 0.5, kind < 0.75],
        [radius - distance, radius - np.maximum(abs(across), abs(down)), 1 - abs(distance - radius)],
        1 - abs(across + down) / 2,
    )
    return ((0.4 + 0.6 * light) * 255 * inside.clip(0, 1))[..., None].round().astype(np.uint8)


@pytest.fixture(scope="module")
def world() -> TrainingImages:
    uniform = np.random.RandomState(1).rand(COUNT, NUMBERS)
    labels = (uniform[:, 0] * len(KINDS)).astype(np.int64)
    return TrainingImages("shapes", "5" * 64, render(uniform), labels, KINDS)


@pytest.fixture(scope="module")
def shapes_judge(world: TrainingImages) -> Judge:
    return train_judge(world, epochs=4)


@pytest.fixture(scope="module", autouse=True)
def _without_the_slowest_metric() -> Iterator[None]:
    """The sliced Wasserstein distance takes most of the time, and nothing here is about it."""
    with pytest.MonkeyPatch.context() as patch:
        faster = tuple(metric for metric in METRICS if metric.name != "sliced_wasserstein")
        patch.setattr("training.evaluation.gather.METRICS", faster)
        yield


Assess = Callable[..., dict[str, float]]


@pytest.fixture(scope="module")
def assess(world: TrainingImages, shapes_judge: Judge) -> Assess:
    """A function that evaluates a generator from uniform numbers to images, and returns its values by name."""

    def values(draw: Callable[[Uniform], Images]) -> dict[str, float]:
        return {score.metric: score.value for score in evaluation(world, shapes_judge, draw).scores}

    return values


def evaluation(
    world: TrainingImages,
    judge: Judge,
    draw: Callable[[Uniform], Images],
    trained_on: str = "5" * 64,
    share: float = 0.1,
) -> Evaluation:
    def sample(noise: NDArray[np.float32], label: NDArray[np.int64] | None) -> Images:
        return draw(torch.special.ndtr(torch.from_numpy(noise).double()).numpy())

    target = EvalTarget(
        name="known",
        path=Path("known"),
        kind="run",
        noise_dim=NUMBERS,
        label_names=None,
        image=ImageSpec(height=SIDE, width=SIDE, channels=1),
        data_config=DataConfig(resolution=SIDE, channels=1, fit="pad", holdout=share),
        data_source=None,
        trained_on=trained_on,
        sample=sample,
    )
    return evaluate(target, world, judge)


def replay(world: TrainingImages, flips: bool) -> Callable[[Uniform], Images]:
    training = world.images[training_indices(COUNT, 0.1)]

    def draw(uniform: Uniform) -> Images:
        chosen = training[(uniform[:, 0] * len(training)).astype(np.int64)]
        mirror = (flips & (uniform[:, 1] < 0.5))[:, None, None, None]
        return np.where(mirror, chosen[:, :, ::-1], chosen)

    return draw


@pytest.mark.parametrize("flips", [False, True])
def test_one_that_replays_its_training_images_is_told(assess: Assess, world: TrainingImages, flips: bool) -> None:
    """Each of them: those that the judge has not seen, and the mirrored ones, too."""
    values = assess(replay(world, flips))
    assert values["copies"] == 1
    assert values["nearest_ratio"] == 0


def test_one_that_copies_every_second_image_is_told(assess: Assess, world: TrainingImages) -> None:
    copies = replay(world, flips=True)
    values = assess(lambda u: np.where((u[:, 4] < 0.5)[:, None, None, None], copies(u), render(u)))
    assert values["copies"] == pytest.approx(0.5 + 0.5 * 0.05, abs=0.05)


@pytest.fixture(scope="module")
def perfect(world: TrainingImages, shapes_judge: Judge) -> Evaluation:
    return evaluation(world, shapes_judge, render)


def test_one_that_is_perfect_scores_like_real_images(perfect: Evaluation) -> None:
    scores = {score.metric: score for score in perfect.scores}
    share = scores["fxd"].share
    assert share is not None
    assert abs(share) < 0.01
    assert scores["copies"].value == pytest.approx(0.05, abs=0.04)
    assert scores["nearest_ratio"].value == pytest.approx(1, abs=0.1)
    # Naeem et al. 2020, lemma 2, with equally many images on both sides and k = 5.
    pairs = COUNT // 2
    expected = 1 - math.comb(2 * pairs - 6, pairs) / math.comb(2 * pairs - 1, pairs)
    assert scores["coverage"].value == pytest.approx(expected, abs=0.015)
    assert scores["density"].value == pytest.approx(1, abs=0.05)


def test_one_that_has_lost_half_of_the_modes_covers_half(assess: Assess) -> None:
    values = assess(lambda uniform: render(uniform * [0.5, 1, 1, 1, 1]))
    assert values["coverage"] == pytest.approx(0.5, abs=0.05)
    assert values["recall"] == pytest.approx(0.5, abs=0.1)
    assert values["precision"] > 0.85
    assert values["copies"] < 0.12, "what it draws is its own"


def test_both_sides_and_the_baselines_have_equally_many_images(perfect: Evaluation) -> None:
    assert (perfect.samples, perfect.floor_samples, perfect.data.held_out) == (COUNT // 2, COUNT // 2, HELD_OUT)
    protocols = {score.metric: score.protocol for score in perfect.scores}
    assert protocols["coverage"].startswith("k = 5, 500 images a side; mean of 3 × 500 images")
    assert "500 images to the 500 real ones of the fit split" in protocols["fxd"]
    assert "100 subsets of 250 out of 500 images a side" in protocols["kernel_distance"]
    assert (
        "500 images nearer to one of 900 training images or their mirrors than 95 % of 100 held-out ones"
        in protocols["copies"]
    )
    assert not any("{" in protocol for protocol in protocols.values())


@pytest.mark.parametrize(
    ("trained_on", "share", "reason"),
    [
        ("6" * 64, 0.1, "known was trained on other images (fingerprint 666666666666…) than shapes (555555555555…)"),
        ("5" * 64, 0.0, "known was trained on all images (data.holdout 0): none is left to tell copies by"),
        ("5" * 64, 0.01, "none, since 1 % of 1000 images are fewer than 20"),
    ],
)
def test_copies_that_cannot_be_told_are_left_out_with_the_reason(
    trained_on: str, share: float, reason: str, world: TrainingImages, shapes_judge: Judge
) -> None:
    found = evaluation(world, shapes_judge, render, trained_on, share)
    assert not {"copies", "nearest_ratio"} & {score.metric for score in found.scores}
    assert reason in found.left_out["copies"]
    assert reason in found.left_out["nearest_ratio"]
    assert found.data.held_out == 0


def test_the_nearest_training_image_is_shown_as_it_is_or_mirrored(world: TrainingImages, shapes_judge: Judge) -> None:
    reference = Reference(world, shapes_judge, HELD_OUT)
    some = world.images[training_indices(COUNT, 0.1)[::100]]
    assert np.array_equal(reference.nearest_images(shapes_judge(some)[0]), some)
    mirrored = some[:, :, ::-1]
    assert np.array_equal(reference.nearest_images(shapes_judge(mirrored)[0]), mirrored)
