"""Trains a data set's judge once, on half of the images, and finds it in the user's cache afterwards."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor

from training.console import console, stage
from training.data.cache import judges_folder
from training.data.dataset import TrainingImages
from training.data.split import judge_split
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
"""Passes over ``MAX_TRAINING_IMAGES`` images; fewer images get more passes, up to ``MAX_EPOCHS``."""
MAX_EPOCHS = 20
"""On small data sets, a few passes would be hardly any steps."""
MAX_TRAINING_IMAGES = 30_000
"""Most images that a judge is trained on, and most that it is tested on."""
MIN_IMAGES = 2 * (FEATURES + 1)
"""Fewest images of a judged data set: with no more images than features in each half, covariances are singular."""
MIN_IMAGES_PER_LABEL = 4
"""Fewest training images per label, on average. With fewer, labels identify single images."""

_BATCH = 64
_LEARNING_RATE = 2e-3
_WEIGHT_DECAY = 1e-4


def judge_for(data: TrainingImages) -> Judge:
    """Returns the data set's own judge, trained and cached unless it is there. Raises ``TrainingError``."""
    judge = find_judge(data)
    if judge is None:
        judge = train_judge(data)
        judge.save(_path_of_judge(data))
    return judge


def find_judge(data: TrainingImages) -> Judge | None:
    """Returns the data set's own judge from the cache, or None if it has to be trained.

    Raises ``TrainingError`` if its file is damaged, or if there are too few images to train one. So a run learns at its
    start what would end it at its first score.
    """
    path = _path_of_judge(data)
    if path.is_file():
        judge = load_judge(path)
        # Earlier versions trained judges on useless labels, and the cache may hold one.
        if judge.record.task == "rotations" or useless_labels(data, judge.record.accuracy) is None:
            return judge
    _check_count(data)
    return None


def _path_of_judge(data: TrainingImages) -> Path:
    return judges_folder() / f"{data.fingerprint}.pt"


def _check_count(data: TrainingImages) -> None:
    if len(data) < MIN_IMAGES:
        raise TrainingError(
            f"{data.name} holds {len(data)} images; a judge of {FEATURES} features needs at least {MIN_IMAGES}: "
            "it learns from one half and is compared on the other"
        )


def useless_labels(data: TrainingImages, accuracy: float | None = None) -> str | None:
    """Returns why a judge cannot learn from the labels, or None if it can.

    ``accuracy`` is the share of correct predictions of a judge trained on them, on images it has not seen.
    """
    if data.labels is None:
        return None
    train, test = _train_test_indices(data)
    used = len(np.unique(data.labels[train]))
    if used == 1:
        return "all images have the same one"
    if len(train) < MIN_IMAGES_PER_LABEL * used:
        return f"{used} labels for {len(train)} images leave fewer than {MIN_IMAGES_PER_LABEL} images a label"
    chance = float(np.bincount(data.labels[test]).max() / len(test))
    deviation = (chance * (1 - chance) / len(test)) ** 0.5
    if accuracy is not None and accuracy < chance + 2 * deviation:
        return f"it predicts {accuracy:.1%} of unseen images, and the most frequent label alone {chance:.1%}"
    return None


def train_judge(data: TrainingImages, epochs: int | None = None, seed: int = 0) -> Judge:
    """Trains a judge of labels, or of quarter turns if there are no labels or they are useless.

    Warns on standard error about useless labels. Leaves the global random state unchanged. Without ``epochs`` it takes
    ``EPOCHS`` over ``MAX_TRAINING_IMAGES`` images, and more over fewer, up to ``MAX_EPOCHS``. On one CPU with one
    number of threads, the same data and seed give the same weights, bit for bit. Raises ``TrainingError`` if there are
    too few images.
    """
    _check_count(data)
    reason = useless_labels(data)
    if reason is None:
        judge = _train(data, epochs, seed)
        reason = useless_labels(data, judge.record.accuracy)
        if reason is None:
            return judge
    print(
        f"the labels of {data.name} are useless to a judge ({reason}): it learns quarter turns instead",
        file=sys.stderr,
    )
    return _train(replace(data, labels=None, label_names=None), epochs, seed)


def _train_test_indices(data: TrainingImages) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the indices of training images, from the fit split, and of test images, from the unseen split."""
    train, test = (split[:MAX_TRAINING_IMAGES] for split in judge_split(len(data)))
    return train, test


def _train(data: TrainingImages, epochs: int | None, seed: int) -> Judge:
    train, test = _train_test_indices(data)
    epochs = epochs or min(MAX_EPOCHS, EPOCHS * MAX_TRAINING_IMAGES // len(train))
    device = best_device()
    outputs = len(data.label_names) if data.label_names else ROTATIONS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = JudgeNetwork(data.images.shape[1], data.images.shape[3], outputs)
    # Convolutions are fastest in channels-last, on CPUs and on GPUs.
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _fit(network, data, train, epochs, torch.Generator().manual_seed(seed))
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
    network: JudgeNetwork, data: TrainingImages, indices: NDArray[np.int64], epochs: int, rng: torch.Generator
) -> None:
    device = next(network.parameters()).device
    steps = epochs * -(-len(indices) // _BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, steps)
    network.train()
    what = f"training the judge on {len(indices)} images, {epochs} times each"
    with stage(what), Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Training the judge", total=steps)
        for _ in range(epochs):
            order = indices[torch.randperm(len(indices), generator=rng).numpy()]
            for images, targets in _batches(data, order, rng):
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(network(images.to(device))[1], targets.to(device)).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                progress.advance(task)
    network.eval()
    network.spread.copy_(_spread(network, data, indices))


@torch.no_grad()
def _spread(network: JudgeNetwork, data: TrainingImages, indices: NDArray[np.int64]) -> Tensor:
    """Returns the root of the mean variance of each kind of features, [FEATURES], over up to 10 000 images."""
    device = next(network.parameters()).device
    parts = [
        network(torch.from_numpy(data.images[indices[first : first + _BATCH]]).to(device))[0]
        for first in range(0, min(len(indices), 10_000), _BATCH)
    ]
    kinds = torch.split(torch.cat(parts).var(0), [SEMANTIC_DIM, TEXTURE_DIM])
    return torch.cat([kind.mean().sqrt().expand(len(kind)) for kind in kinds])


@torch.no_grad()
def _accuracy(network: JudgeNetwork, data: TrainingImages, test: NDArray[np.int64]) -> float:
    device = next(network.parameters()).device
    correct = 0
    for images, targets in _batches(data, test, torch.Generator().manual_seed(0)):
        correct += int((network(images.to(device))[1].argmax(1).cpu() == targets).sum())
    return correct / len(test)


def _batches(data: TrainingImages, order: NDArray[np.int64], rng: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields images uint8 [N, H, W, C] and their targets int64 [N], labels or quarter turns, in the given order."""
    for first in range(0, len(order), _BATCH):
        indices = order[first : first + _BATCH]
        images = torch.from_numpy(data.images[indices])
        if data.labels is not None:
            yield images, torch.from_numpy(data.labels[indices])
        else:
            turns = torch.randint(ROTATIONS, (len(indices),), generator=rng)
            turned = [torch.rot90(image, int(turn), (0, 1)) for image, turn in zip(images, turns, strict=True)]
            yield torch.stack(turned), turns
