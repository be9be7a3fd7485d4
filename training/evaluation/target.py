"""What is judged: the generator of a run, as export would take it, or a bundle, as it will be served."""

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
from training.config.schema import DataConfig
from training.data.dataset import TrainingImages
from training.device import best_device
from training.errors import DivergenceError, TrainingError
from training.runs.best_checkpoint import load_best_generator
from training.runs.folder import RunFolder
from training.runs.sampling import ImageGenerator, in_batches

BATCH = 250

Images = NDArray[np.uint8]
Item = TypeVar("Item")


@dataclass(frozen=True)
class EvalTarget:
    """A generator under judgement."""

    name: str
    path: Path
    kind: Literal["run", "bundle"]
    noise_dim: int
    label_names: tuple[str, ...] | None
    """What steers it, or None where nothing does."""
    image: ImageSpec
    data_config: DataConfig
    """How real images become comparable with its own."""
    data_source: str | None
    """Where the images lie that it was trained on, where that is known."""
    sample: Callable[[NDArray[np.float32], NDArray[np.int64] | None], Images]
    """Noise float32 [N, Z] and label int64 [N] or None → images uint8 [N, H, W, C]."""


def open_target(path: Path) -> EvalTarget:
    """The bundle or run in a folder. Raises ``TrainingError`` if it is neither, or does not hold together."""
    return _bundle_subject(path) if (path / CARD_FILE).is_file() else _run_subject(path)


def check_fit(subject: EvalTarget, data: TrainingImages) -> None:
    """Raises ``TrainingError`` unless the labels that steer the generator are those of the data."""
    if subject.label_names and subject.label_names != data.label_names:
        found = _list(data.label_names) if data.label_names else "none"
        raise TrainingError(
            f"{subject.path} is steered by the labels {_list(subject.label_names)}, "
            f"but the labels of {data.name} are {found}"
        )


def sample_labels(data: TrainingImages, count: int, seed: int) -> NDArray[np.int64]:
    """Labels int64 [count] as frequent as in the data, the same for the same seed; seeds wrap around as images' do."""
    assert data.labels is not None
    drawn = data.labels[np.random.RandomState(seed % (MAX_SEED + 1)).randint(len(data), size=count)]
    return drawn.astype(np.int64)


def generated(
    subject: EvalTarget, data: TrainingImages, count: int, seed: int
) -> Iterator[tuple[Images, NDArray[np.int64] | None]]:
    """``count`` images of the seeds from ``seed`` on, and their labels, in batches.

    A batch is sampled while the one before it is being looked at.
    """
    labels = sample_labels(data, count, seed) if subject.label_names else None

    def make(first: int, last: int) -> tuple[Images, NDArray[np.int64] | None]:
        noise = noise_for_seeds([(seed + index) % (MAX_SEED + 1) for index in range(first, last)], subject.noise_dim)
        chosen = None if labels is None else labels[first:last]
        return subject.sample(noise, chosen), chosen

    return prefetched(in_batches(make, count, BATCH))


def prefetched(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; the next one is made in another thread while the consumer is busy with this one."""
    done = object()
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, items, done)
        while (item := coming.result()) is not done:
            coming = worker.submit(next, items, done)
            yield item  # type: ignore[misc]


class _Finite(nn.Module):
    """A generator that tells of values that are no numbers, which as uint8 would pass for black."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: Tensor, label: Tensor | None, truncation: Tensor) -> Tensor:
        images: Tensor = self.generator(noise, label, truncation)
        if not torch.isfinite(images).all():
            raise DivergenceError("the generator makes images with values that are no numbers: its weights are broken")
        return images


@torch.no_grad()
def sample_images(generator: nn.Module, noise: NDArray[np.float32], label: NDArray[np.int64] | None) -> Images:
    """Images uint8 [N, H, W, C] of a PyTorch generator in evaluation mode, as the exported graph would make them.

    Raises ``DivergenceError`` if the generator makes anything but finite numbers.
    """
    device = next(generator.parameters()).device
    images: Images = (
        ImageGenerator(_Finite(generator))(
            torch.from_numpy(noise).to(device),
            None if label is None else torch.from_numpy(label).to(device),
            torch.ones(len(noise), device=device),
        )
        .cpu()
        .numpy()
    )
    return images


def _run_subject(path: Path) -> EvalTarget:
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
        sample=lambda noise, label: sample_images(generator, noise, label),
    )


def _bundle_subject(path: Path) -> EvalTarget:
    import onnxruntime  # takes a second to import, and runs do without it

    path = path.resolve()
    try:
        bundle = read_bundle(path)
        card = bundle.card
        session = onnxruntime.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
        check_signature(card, map(_tensor, session.get_inputs()), map(_tensor, session.get_outputs()))
    except BundleError as error:
        raise TrainingError(str(error)) from error

    def sample(noise: NDArray[np.float32], label: NDArray[np.int64] | None) -> Images:
        feeds = {"noise": noise, "truncation": np.ones(len(noise), np.float32)}
        images: Images = session.run(["images"], feeds | ({} if label is None else {"label": label}))[0]
        return images

    return EvalTarget(
        name=f"{card.name}/{card.version}",
        path=path,
        kind="bundle",
        noise_dim=card.noise_dim,
        label_names=card.labels,
        image=card.image,
        data_config=_data_config(card.training.configuration.get("data"), card.image),
        data_source=None,
        sample=sample,
    )


def _data_config(recorded: object, image: ImageSpec) -> DataConfig:
    """How the bundle's own training images were fitted, or, where its card does not say, padded to its size."""
    try:
        return DataConfig.model_validate(recorded)
    except ValidationError:
        return DataConfig(resolution=image.height, channels=image.channels, fit="pad")


def _tensor(node: "onnxruntime.NodeArg") -> GraphTensor:  # type: ignore[name-defined]  # noqa: F821
    dtype = node.type.removeprefix("tensor(").removesuffix(")")
    return GraphTensor(node.name, {"float": "float32"}.get(dtype, dtype), tuple(node.shape))


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f", … ({len(names)} in all)" if len(names) > 5 else "")
