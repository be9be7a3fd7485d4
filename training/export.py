"""Exports a run's EMA generator as a bundle: an ONNX graph, compared image by image with PyTorch."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.bundle import Card, DatasetRecord, ImageSpec, Parity, Score, TrainingRecord, TuningRecord, next_version
from models.noise import noise_for_seeds
from training.errors import TrainingError
from training.packing.checks import BATCHES, MAX_DIFFERENCE, Precision, difference, run_bundle
from training.packing.random_operators import random_nodes
from training.packing.running import Runner
from training.packing.torch_export import OPSET, export_to_onnx, with_plain_weights
from training.packing.writing import check_name, write_checked
from training.runs.best_checkpoint import load_best_generator
from training.runs.folder import RunFolder
from training.runs.sampling import ImageGenerator


def export(
    run: RunFolder,
    to: Path,
    name: str | None = None,
    precision: Precision = "fp32",
    tuning: TuningRecord | None = None,
    scores: tuple[Score, ...] = (),
    last: bool = False,
) -> Path:
    """Writes the run's best EMA generator as the next version of a bundle below ``to``, and returns its folder.

    With ``last``, it writes the newest one. ``fp16`` halves the file, and the time on a GPU with tensor cores; inputs
    stay float32. The card records ``tuning`` and ``scores``.

    Raises ``TrainingError`` if the name is invalid, if ONNX Runtime and PyTorch differ, or if writing fails.
    """
    name = check_name(name or run.config.name)
    best = load_best_generator(run, last=last)
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
    return write_checked(to, card, graph, "exported")


def to_onnx(network: nn.Module, noise_dim: int, labels: int) -> bytes:
    """Converts the network into one ONNX file with a dynamic batch and constant weights.

    Raises ``TrainingError`` if the graph draws random numbers, since a seed would no longer determine the image.
    """
    # Two examples, since the exporter treats a size of 0 or 1 as fixed.
    noise, truncation = torch.zeros(2, noise_dim), torch.ones(2)
    label = torch.zeros(2, dtype=torch.int64) if labels else None
    batch = torch.export.Dim("N")
    model = export_to_onnx(
        with_plain_weights(network),
        (noise, label, truncation),
        input_names=["noise", *(["label"] if labels else []), "truncation"],
        output_names=["images"],
        dynamic_shapes={"noise": {0: batch}, "label": {0: batch} if labels else None, "truncation": {0: batch}},
    )
    if random := random_nodes(model):
        operators = sorted({node.op_type for node in random})
        raise TrainingError(f"not exported: the graph draws random numbers ({', '.join(operators)})")
    content: bytes = model.SerializeToString()
    return content


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
    """Returns the largest difference of a pixel between PyTorch and ONNX Runtime over ``BATCHES``.

    Truncation runs from 0 to 1 within each batch, so the comparison covers it.
    """
    runner = Runner(graph)
    largest = 0
    for size in BATCHES:
        noise = noise_for_seeds(range(size), noise_dim)
        label = np.arange(size, dtype=np.int64) % labels if labels else None
        truncation = np.linspace(1, 0, size, dtype=np.float32)
        expected = network(
            torch.from_numpy(noise), None if label is None else torch.from_numpy(label), torch.from_numpy(truncation)
        ).numpy()
        largest = max(largest, difference(run_bundle(runner, noise, label, truncation), expected))
    return Parity(max_difference=largest, batch_sizes=BATCHES)
