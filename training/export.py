"""Exports a run's EMA generator as a bundle: an ONNX graph, compared image by image with PyTorch."""

import copy
import hashlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import nn
from torch.nn.utils import parametrize

from models.bundle import (
    GENERATOR_FILE,
    BundleError,
    Card,
    DatasetRecord,
    ImageSpec,
    Name,
    Parity,
    Score,
    Tensor,
    TrainingRecord,
    TuningRecord,
    check_signature,
    next_version,
    write_bundle,
)
from models.noise import noise_for_seeds
from models.transparency import premultiply
from training.errors import TrainingError
from training.runs.best_checkpoint import load_best_generator
from training.runs.folder import RunFolder
from training.runs.sampling import ImageGenerator, grid_inputs, image_grid

OPSET = 20
PARITY_BATCHES = (1, 2, 3, 7, 16)
Precision = Literal["fp32", "fp16"]

MAX_DIFFERENCE: dict[Precision, int] = {"fp32": 1, "fp16": 2}
"""Largest allowed difference between a pixel of ONNX Runtime and PyTorch's in float32, in steps of 255."""


def export(
    run: RunFolder,
    to: Path,
    name: str | None = None,
    precision: Precision = "fp32",
    tuning: TuningRecord | None = None,
    scores: tuple[Score, ...] = (),
) -> Path:
    """Writes the run's best EMA generator as the next version of a bundle below ``to``, and returns its folder.

    ``fp16`` halves the file, and the time on a GPU with tensor cores; inputs stay float32. The card records ``tuning``
    and ``scores``.

    Raises ``TrainingError`` if the name is invalid, if ONNX Runtime and PyTorch differ, or if writing fails.
    """
    name = _check_name(name or run.config.name)
    best = load_best_generator(run)
    network = ImageGenerator(best.network).eval()
    noise_dim = run.config.network.noise_dim

    graph = to_onnx(network if precision == "fp32" else in_float16(best.network), noise_dim, run.labels)
    parity = measure_parity(network, graph, noise_dim, run.labels)
    if parity.max_difference > MAX_DIFFERENCE[precision]:
        raise TrainingError(
            f"not exported: ONNX Runtime's images differ from PyTorch's by up to {parity.max_difference} of 255, "
            f"and {MAX_DIFFERENCE[precision]} is allowed"
        )
    side = run.config.data.resolution
    card = Card(
        name=name,
        version=next_version(to, name),
        created=datetime.now(UTC).replace(microsecond=0),
        architecture=run.config.network.family,
        noise_dim=noise_dim,
        labels=run.data.label_names if run.labels else None,
        image=ImageSpec(height=side, width=side, channels=run.config.data.channels),
        sha256=hashlib.sha256(graph).hexdigest(),
        opset=OPSET,
        precision=precision,
        training=TrainingRecord(
            dataset=DatasetRecord(name=run.data.name, fingerprint=run.data.fingerprint, images=run.data.images),
            configuration=run.config.model_dump(mode="json"),
            seed=run.config.seed,
            images_seen=best.images_seen,
            source_revision=run.source_revision,
            initial=run.initial.record if run.initial else None,
        ),
        tuning=tuning,
        scores=scores,
        parity=parity,
        licence=run.config.about.licence,
        intended_use=run.config.about.intended_use,
    )
    session = _open_session(graph)
    try:
        check_signature(card, map(_to_tensor, session.get_inputs()), map(_to_tensor, session.get_outputs()))
        return write_bundle(to, card, graph, _samples_png(session, card))
    except BundleError as error:
        raise TrainingError(f"not exported: {error}") from error
    except OSError as error:
        raise TrainingError(f"not exported: cannot write below {to} ({error.strerror})") from error


def to_onnx(network: nn.Module, noise_dim: int, labels: int) -> bytes:
    """Converts the network into one ONNX file with a dynamic batch and constant weights.

    Raises ``TrainingError`` if the graph draws random numbers, since a seed would no longer determine the image.
    """
    # Two examples, since the exporter treats a size of 0 or 1 as fixed.
    noise, truncation = torch.zeros(2, noise_dim), torch.ones(2)
    label = torch.zeros(2, dtype=torch.int64) if labels else None
    batch = torch.export.Dim("N")
    with tempfile.TemporaryDirectory() as folder, _quiet_exporter():
        path = Path(folder) / GENERATOR_FILE
        torch.onnx.export(
            with_plain_weights(network),
            (noise, label, truncation),
            path,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            external_data=False,
            input_names=["noise", *(["label"] if labels else []), "truncation"],
            output_names=["images"],
            dynamic_shapes={"noise": {0: batch}, "label": {0: batch} if labels else None, "truncation": {0: batch}},
        )
        model = onnx.load(path)
    random = {node.op_type for node in model.graph.node} & {
        "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial",
    }  # fmt: skip
    if random:
        raise TrainingError(f"not exported: the graph draws random numbers ({', '.join(sorted(random))})")
    content: bytes = without_traces(model).SerializeToString()
    return content


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Removes from a model, in place, what the exporter notes about each node: stack traces with local file paths.

    They would tell every user of a bundle where it was made. The graph that is computed stays the same.
    """
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
        for node in graph.node:
            graphs += [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    for function in model.functions:
        for part in (*function.node, *function.value_info, function):
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
    model.ClearField("metadata_props")
    model.ClearField("doc_string")
    return model


@torch.no_grad()
def with_plain_weights(network: nn.Module) -> nn.Module:
    """Returns a copy that holds the present values of parametrised weights, such as spectrally normalised ones."""
    plain = copy.deepcopy(network).eval()
    for module in plain.modules():
        if parametrize.is_parametrized(module):
            # remove_parametrizations would delete the property from the class, which the original uses too.
            values = {name: getattr(module, name) for name in module.get_submodule("parametrizations")._modules}
            module.__class__ = parametrize.type_before_parametrizations(module)
            del module.parametrizations
            for name, value in values.items():
                module.register_parameter(name, nn.Parameter(value))
    return plain


def in_float16(generator: nn.Module) -> nn.Module:
    """Returns an ``ImageGenerator`` with a copy of the generator that computes in float16."""
    return ImageGenerator(_Float16(with_plain_weights(generator).half())).eval()


class _Float16(nn.Module):
    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: torch.Tensor, label: torch.Tensor | None, truncation: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self.generator(noise.half(), label, truncation.half())
        return images.float()  # so scaling and rounding to 255 steps happen in full precision


@torch.no_grad()
def measure_parity(network: nn.Module, graph: bytes, noise_dim: int, labels: int) -> Parity:
    """Returns the largest difference of a pixel between PyTorch and ONNX Runtime over ``PARITY_BATCHES``.

    Truncation runs from 0 to 1 within each batch, so the comparison covers it.
    """
    session = _open_session(graph)
    largest = 0
    for size in PARITY_BATCHES:
        noise = noise_for_seeds(range(size), noise_dim)
        label = np.arange(size, dtype=np.int64) % labels if labels else None
        truncation = np.linspace(1, 0, size, dtype=np.float32)
        expected = network(
            torch.from_numpy(noise), None if label is None else torch.from_numpy(label), torch.from_numpy(truncation)
        ).numpy()
        images = _generate(session, noise, label, truncation)
        # Premultiplied: the colour of a pixel that is nearly transparent may differ more, and nobody sees it.
        seen, wanted = (premultiply(pixels).astype(np.int16) for pixels in (images, expected))
        largest = max(largest, int(np.abs(seen - wanted).max()))
    return Parity(max_difference=largest, batch_sizes=PARITY_BATCHES)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    # The exporter reports missing packages and its own deprecations, which the user cannot act on.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _check_name(name: str) -> str:
    try:
        return TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise TrainingError(
            f"{name!r} is no name for a generator: use up to 64 of a-z 0-9 . _ - and begin with a letter or digit"
        ) from None


def _open_session(graph: bytes) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def _generate(
    session: Any,
    noise: NDArray[np.float32],
    label: NDArray[np.int64] | None,
    truncation: NDArray[np.float32],
) -> NDArray[np.uint8]:
    feeds = {"noise": noise, "truncation": truncation} | ({} if label is None else {"label": label})
    images: NDArray[np.uint8] = session.run(["images"], feeds)[0]
    return images


def _to_tensor(node: Any) -> Tensor:
    dtype = node.type.removeprefix("tensor(").removesuffix(")")
    return Tensor(node.name, {"float": "float32"}.get(dtype, dtype), tuple(node.shape))


def _samples_png(session: Any, card: Card) -> bytes:
    noise, label = grid_inputs(card.noise_dim, card.num_labels)
    truncation = np.ones(len(noise), dtype=np.float32)
    images = _generate(session, noise.numpy(), None if label is None else label.numpy(), truncation)
    file = io.BytesIO()
    image_grid(images, min(card.num_labels, 10) or 10).save(file, "PNG")
    return file.getvalue()
