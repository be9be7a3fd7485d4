"""Opens what is evaluated: the generator of a run, as export takes it, or a bundle, as the service runs it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from models.bundle import CARD_FILE, BundleError, ImageSpec, check_signature, read_bundle
from models.bundle import Tensor as GraphTensor
from models.noise import MAX_SEED, noise_for_seeds
from training.config.earlier import with_earlier_values
from training.config.schema import DataConfig
from training.data.dataset import TrainingImages
from training.device import best_device
from training.errors import DivergenceError, TrainingError
from training.runs.best_checkpoint import load_best_generator
from training.runs.folder import RunFolder
from training.runs.sampling import ImageGenerator, in_batches

BATCH = 250
"""Images generated at once."""

Images = NDArray[np.uint8]
Item = TypeVar("Item")


@dataclass(frozen=True)
class EvalTarget:
    """A generator to evaluate."""

    name: str
    path: Path
    kind: Literal["run", "bundle"]
    noise_dim: int
    label_names: tuple[str, ...] | None
    """The labels it takes, or None if it takes none."""
    image: ImageSpec
    data_config: DataConfig
    """How real images are fitted to its size."""
    data_source: str | None
    """Where its training images lie, or None if that is not known."""
    trained_on: str | None
    """The fingerprint of the data set that it was trained on, or None if that is not known."""
    sample: Callable[[NDArray[np.float32], NDArray[np.int64] | None], Images]
    """Noise float32 [N, Z] and label int64 [N] or None → images uint8 [N, H, W, C]."""


def open_target(path: Path) -> EvalTarget:
    """Opens the bundle or run in a folder. Raises ``TrainingError`` if it is neither, or inconsistent."""
    return _open_bundle(path) if (path / CARD_FILE).is_file() else _open_run(path)


def check_labels(target: EvalTarget, data: TrainingImages) -> None:
    """Raises ``TrainingError`` if the generator takes labels, and the data has others."""
    if target.label_names and target.label_names != data.label_names:
        found = _list(data.label_names) if data.label_names else "none"
        raise TrainingError(
            f"{target.path} takes the labels {_list(target.label_names)}, but the labels of {data.name} are {found}"
        )


def sample_labels(data: TrainingImages, count: int, seed: int) -> NDArray[np.int64]:
    """Returns labels int64 [count], as frequent as in the data.

    The same seed gives the same labels. Seeds wrap around at 2³², as those of images do.
    """
    assert data.labels is not None
    drawn = data.labels[np.random.RandomState(seed % (MAX_SEED + 1)).randint(len(data), size=count)]
    return drawn.astype(np.int64)


def generate_batches(
    target: EvalTarget, data: TrainingImages, count: int, seed: int
) -> Iterator[tuple[Images, NDArray[np.int64] | None]]:
    """Yields ``count`` images with the seeds from ``seed`` on, and their labels, in batches.

    The next batch is generated while the caller works on this one.
    """
    labels = sample_labels(data, count, seed) if target.label_names else None

    def generate(first: int, last: int) -> tuple[Images, NDArray[np.int64] | None]:
        noise = noise_for_seeds([(seed + index) % (MAX_SEED + 1) for index in range(first, last)], target.noise_dim)
        chosen = None if labels is None else labels[first:last]
        return target.sample(noise, chosen), chosen

    return prefetch(in_batches(generate, count, BATCH))


def prefetch(items: Iterator[Item]) -> Iterator[Item]:
    """Yields the same items; a thread fetches the next one while the caller works on this one."""
    end = object()
    with ThreadPoolExecutor(1) as worker:
        following = worker.submit(next, items, end)
        while (item := following.result()) is not end:
            following = worker.submit(next, items, end)
            yield item  # type: ignore[misc]


class _FiniteGenerator(nn.Module):
    """A generator that raises on NaN or Inf, which uint8 would hide."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: Tensor, label: Tensor | None, truncation: Tensor) -> Tensor:
        images: Tensor = self.generator(noise, label, truncation)
        if not torch.isfinite(images).all():
            raise DivergenceError("the generator's images contain NaN or Inf: its weights have diverged")
        return images


@torch.no_grad()
def sample_images(generator: nn.Module, noise: NDArray[np.float32], label: NDArray[np.int64] | None) -> Images:
    """Returns images uint8 [N, H, W, C] of a PyTorch generator in evaluation mode, like those of the exported graph.

    Raises ``DivergenceError`` if the generator returns NaN or Inf.
    """
    device = next(generator.parameters()).device
    images: Images = (
        ImageGenerator(_FiniteGenerator(generator))(
            torch.from_numpy(noise).to(device),
            None if label is None else torch.from_numpy(label).to(device),
            torch.ones(len(noise), device=device),
        )
        .cpu()
        .numpy()
    )
    return images


def _open_run(path: Path) -> EvalTarget:
    run = RunFolder.open(path)
    generator = load_best_generator(run, best_device()).network
    side = run.config.data.resolution
    return EvalTarget(
        name=run.config.name,
        path=path,
        kind="run",
        noise_dim=run.config.network.noise_dim,
        label_names=run.data.label_names if run.labels else None,
        image=ImageSpec(height=side, width=side, channels=run.config.data.channels),
        data_config=run.config.data,
        data_source=run.data.source,
        trained_on=run.data.fingerprint,
        sample=lambda noise, label: sample_images(generator, noise, label),
    )


def _open_bundle(path: Path) -> EvalTarget:
    import onnxruntime  # here, because it takes a second to import and runs need none of it

    path = path.resolve()
    try:
        bundle = read_bundle(path)
        card = bundle.card
        session = onnxruntime.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
        check_signature(card, map(_tensor, session.get_inputs()), map(_tensor, session.get_outputs()))
    except BundleError as error:
        raise TrainingError(str(error)) from error
    except Exception as error:  # ONNX Runtime raises many kinds of exceptions for a faulty graph
        raise TrainingError(f"{path.parent.name}/{path.name}: cannot be run: {' '.join(str(error).split())}") from error

    def run(noise: NDArray[np.float32], label: NDArray[np.int64] | None) -> Images:
        feeds = {"noise": noise, "truncation": np.ones(len(noise), np.float32)}
        images: Images = session.run(["images"], feeds | ({} if label is None else {"label": label}))[0]
        return images

    def sample(noise: NDArray[np.float32], label: NDArray[np.int64] | None) -> Images:
        size = card.batch_size or len(noise)
        batches = np.resize(np.arange(len(noise)), (-(-len(noise) // size), size))  # the last is filled with the first
        images = [run(noise[rows], None if label is None else label[rows]) for rows in batches]
        return np.concatenate(images)[: len(noise)]

    return EvalTarget(
        name=f"{card.name}/{card.version}",
        path=path,
        kind="bundle",
        noise_dim=card.noise_dim,
        label_names=card.labels,
        image=card.image,
        data_config=_data_config(card.training.configuration.get("data") if card.training else None, card.image),
        data_source=None,
        trained_on=card.training.dataset.fingerprint if card.training else None,
        sample=sample,
    )


def _data_config(recorded: object, image: ImageSpec) -> DataConfig:
    """Returns how the bundle's training images were fitted, or padding to its size if the card does not say."""
    try:
        return DataConfig.model_validate(with_earlier_values({"data": recorded})["data"])
    except ValidationError:
        return DataConfig(resolution=image.height, channels=image.channels, fit="pad", holdout=0)


def _tensor(node: "onnxruntime.NodeArg") -> GraphTensor:  # type: ignore[name-defined]  # noqa: F821
    dtype = node.type.removeprefix("tensor(").removesuffix(")")
    return GraphTensor(node.name, {"float": "float32"}.get(dtype, dtype), tuple(node.shape))


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f", … ({len(names)} in all)" if len(names) > 5 else "")
