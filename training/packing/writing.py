"""The last step of ``export`` and ``pack``: the graph is held against its card, and the bundle is written."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from models.bundle import BundleError, Card, Name, check_signature, write_bundle
from training.errors import TrainingError
from training.packing.checks import run_bundle
from training.packing.running import Runner
from training.runs.sampling import grid_inputs, image_grid

_ROWS, _COLUMNS = 8, 10
_MOST_PIXELS = 2**24
"""Pixels of the picture of samples."""
_AT_ONCE = 16


def check_name(name: str) -> str:
    """Returns a generator's name. Raises ``TrainingError`` if it is none."""
    try:
        return TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise TrainingError(
            f"{name!r} is no name for a generator: use up to 64 of a-z 0-9 . _ - and begin with a letter or digit"
        ) from None


def write_checked(to: Path, card: Card, graph: bytes, command: str) -> Path:
    """Writes a bundle whose graph has the inputs and outputs of its card, with a picture of samples.

    ``command`` is what the user does with the generator, such as ``exported``, for the error.

    Raises ``TrainingError`` if graph and card do not fit each other, or the bundle cannot be written.
    """
    runner = Runner(graph)
    try:
        check_signature(card, runner.inputs, runner.outputs)
        return write_bundle(to, card, graph, _samples_png(runner, card))
    except BundleError as error:
        raise TrainingError(f"not {command}: {error}") from error
    except OSError as error:
        raise TrainingError(f"not {command}: cannot write below {to} ({error.strerror})") from error


def _samples_png(runner: Runner, card: Card) -> bytes:
    """Returns a picture of images from the first seeds; each column has one label."""
    rows, columns = _ROWS, min(card.num_labels, _COLUMNS) or _COLUMNS
    pixels = card.image.height * card.image.width
    while rows * columns * pixels > _MOST_PIXELS and rows * columns > 1:
        rows, columns = max(1, rows // 2), max(1, columns // 2)
    noise, label = grid_inputs(card.noise_dim, card.num_labels, rows, columns)
    images = _generate(runner, card, noise.numpy(), None if label is None else label.numpy())
    file = io.BytesIO()
    image_grid(images, columns).save(file, "PNG")
    return file.getvalue()


def _generate(
    runner: Runner, card: Card, noise: NDArray[np.float32], label: NDArray[np.int64] | None
) -> NDArray[np.uint8]:
    """Returns the images, without truncation, generated in batches that the graph takes."""
    size = card.batch_size or _AT_ONCE
    batches = np.resize(np.arange(len(noise)), (-(-len(noise) // size), size))  # the last is filled with the first
    truncation = np.ones(size, np.float32)
    images = [run_bundle(runner, noise[rows], None if label is None else label[rows], truncation) for rows in batches]
    return np.concatenate(images)[: len(noise)]
