"""How a data set gets its judge: trained once on one half of the images, found in the user's cache ever after."""

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor

from training.console import console
from training.data.cache import judges_folder
from training.data.dataset import TrainingImages
from training.device import best_device
from training.errors import TrainingError
from training.evaluation.judge.network import (
    FEATURES,
    ROTATIONS,
    SEMANTIC_DIM,
    TEXTURE_DIM,
    Judge,
    JudgeNetwork,
    JudgeRecord,
    load_judge,
    weights_sha256,
)

EPOCHS = 3
MOST_EPOCHS = 20
"""For data sets so small that a few passes are hardly any steps."""
LARGEST_LESSON = 30_000
"""Images a judge is trained on at most, and tested on at most."""
FEWEST_PER_LABEL = 4
"""Images of a label that a judge learns from, on average: with fewer, labels are names of images."""

_BATCH = 64
_LEARNING_RATE = 2e-3
_WEIGHT_DECAY = 1e-4


def judge_for(data: TrainingImages) -> Judge:
    """The data set's own judge: out of the cache, or trained now and put there. Raises ``TrainingError``."""
    path = judges_folder() / f"{data.fingerprint}.pt"
    if path.is_file():
        judge = load_judge(path)
        # The cache may hold a judge of labels of no use: earlier versions trained them.
        if judge.record.task == "rotations" or useless_labels(data, judge.record.accuracy) is None:
            return judge
    judge = train_judge(data)
    judge.save(path)
    return judge


def fit_and_holdout(images: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The indices of half A, which judges learn from, and of half B, which they never see; both in random order.

    They depend on nothing but the number of images, so that everyone who asks gets the same halves.
    """
    order = np.random.RandomState(0).permutation(images)
    return order[: images // 2], order[images // 2 :]


def useless_labels(data: TrainingImages, accuracy: float | None = None) -> str | None:
    """Returns why a judge cannot learn from the labels, or None if it can.

    ``accuracy`` is the share of right answers of a judge that has learnt them, on images it has not seen.
    """
    if data.labels is None:
        return None
    lesson, test = _lesson_and_test(data)
    used = len(np.unique(data.labels[lesson]))
    if used == 1:
        return "all images have the same one"
    if len(lesson) < FEWEST_PER_LABEL * used:
        return f"{used} labels for {len(lesson)} images leave fewer than {FEWEST_PER_LABEL} images a label"
    chance = float(np.bincount(data.labels[test]).max() / len(test))
    deviation = (chance * (1 - chance) / len(test)) ** 0.5
    if accuracy is not None and accuracy < chance + 2 * deviation:
        return f"it is right on {accuracy:.1%} of unseen images, and the most frequent label alone on {chance:.1%}"
    return None


def train_judge(data: TrainingImages, epochs: int | None = None, seed: int = 0) -> Judge:
    """Trains a judge of labels or, where there are none or they are of no use, of quarter turns.

    Says on standard error if labels are of no use. The global random state stays as it is.
    Without ``epochs`` it takes ``EPOCHS`` over ``LARGEST_LESSON`` images, and more over fewer, up to ``MOST_EPOCHS``.
    On a CPU the same data and seed give the same weights, bit for bit, on the same machine with the same number of
    threads. Raises ``TrainingError`` if there are too few images.
    """
    if len(data) < 2 * (FEATURES + 1):
        raise TrainingError(
            f"{data.name} holds {len(data)} images; a judge of {FEATURES} features needs at least {2 * (FEATURES + 1)}"
        )
    reason = useless_labels(data)
    if reason is None:
        judge = _trained(data, epochs, seed)
        reason = useless_labels(data, judge.record.accuracy)
        if reason is None:
            return judge
    print(
        f"the labels of {data.name} are of no use to a judge ({reason}): it learns quarter turns instead",
        file=sys.stderr,
    )
    return _trained(replace(data, labels=None, label_names=None), epochs, seed)


def _lesson_and_test(data: TrainingImages) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The indices that a judge learns from, of half A, and is tested on, of half B."""
    lesson, test = (half[:LARGEST_LESSON] for half in fit_and_holdout(len(data)))
    return lesson, test


def _trained(data: TrainingImages, epochs: int | None, seed: int) -> Judge:
    lesson, test = _lesson_and_test(data)
    epochs = epochs or min(MOST_EPOCHS, EPOCHS * LARGEST_LESSON // len(lesson))
    device = best_device()
    outputs = len(data.label_names) if data.label_names else ROTATIONS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = JudgeNetwork(data.images.shape[1], data.images.shape[3], outputs)
    # Channels last is what the convolutions of both CPUs and GPUs compute in.
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _fit(network, data, lesson, epochs, torch.Generator().manual_seed(seed))
    network = network.to(memory_format=torch.contiguous_format)
    record = JudgeRecord(
        dataset=data.name,
        fingerprint=data.fingerprint,
        resolution=data.images.shape[1],
        channels=data.images.shape[3],
        task="labels" if data.label_names else "rotations",
        label_names=data.label_names,
        accuracy=_accuracy(network, data, test),
        seed=seed,
        sha256=weights_sha256(network),
    )
    return Judge(network, record)


def _fit(
    network: JudgeNetwork, data: TrainingImages, lesson: NDArray[np.int64], epochs: int, draws: torch.Generator
) -> None:
    device = next(network.parameters()).device
    steps = epochs * -(-len(lesson) // _BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, steps)
    network.train()
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Training the judge", total=steps)
        for _ in range(epochs):
            order = lesson[torch.randperm(len(lesson), generator=draws).numpy()]
            for images, answers in _batches(data, order, draws):
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(network(images.to(device))[1], answers.to(device)).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                progress.advance(task)
    network.eval()
    network.spread.copy_(_spread(network, data, lesson))


@torch.no_grad()
def _spread(network: JudgeNetwork, data: TrainingImages, lesson: NDArray[np.int64]) -> Tensor:
    """The root of the mean variance of each kind of features, [FEATURES], over enough images to settle it."""
    device = next(network.parameters()).device
    parts = [
        network(torch.from_numpy(data.images[lesson[first : first + _BATCH]]).to(device))[0]
        for first in range(0, min(len(lesson), 10_000), _BATCH)
    ]
    kinds = torch.split(torch.cat(parts).var(0), [SEMANTIC_DIM, TEXTURE_DIM])
    return torch.cat([kind.mean().sqrt().expand(len(kind)) for kind in kinds])


@torch.no_grad()
def _accuracy(network: JudgeNetwork, data: TrainingImages, test: NDArray[np.int64]) -> float:
    device = next(network.parameters()).device
    right = 0
    for images, answers in _batches(data, test, torch.Generator().manual_seed(0)):
        right += int((network(images.to(device))[1].argmax(1).cpu() == answers).sum())
    return right / len(test)


def _batches(data: TrainingImages, order: NDArray[np.int64], draws: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Images uint8 [N, H, W, C] and what is to be answered, int64 [N], in the given order."""
    for first in range(0, len(order), _BATCH):
        indices = order[first : first + _BATCH]
        images = torch.from_numpy(data.images[indices])
        if data.labels is not None:
            yield images, torch.from_numpy(data.labels[indices])
        else:
            turns = torch.randint(ROTATIONS, (len(indices),), generator=draws)
            turned = [torch.rot90(image, int(turn), (0, 1)) for image, turn in zip(images, turns, strict=True)]
            yield torch.stack(turned), turns
