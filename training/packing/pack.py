"""Packs a generator that was trained elsewhere as a bundle."""

import hashlib
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from models.bundle import Card, next_version
from training.errors import TrainingError
from training.packing.conversion import Converted, convert
from training.packing.graph import opset_version, without_traces
from training.packing.options import PackOptions
from training.packing.report import describe_inputs, describe_output, table
from training.packing.sources import Source, open_source
from training.packing.writing import check_name, write_checked

UNKNOWN = "unknown"


@dataclass(frozen=True)
class About:
    """What the card says about a generator, and no file shows."""

    architecture: str = UNKNOWN
    licence: str = UNKNOWN
    intended_use: str = UNKNOWN


def pack(
    file: str,
    weights: Path | None,
    to: Path | None,
    name: str | None,
    options: PackOptions,
    about: About,
    dry_run: bool,
) -> Path | None:
    """Writes the next version of a bundle below ``to``, and returns its folder; with ``dry_run`` only prints the table.

    Raises ``TrainingError`` if the file is no generator, a guess is open, the bundle would give other images than the
    generator, or writing fails.
    """
    if not dry_run:
        if to is None or name is None:
            raise TrainingError("--to and --name are needed, or --dry-run, which writes nothing")
        check_name(name)
    source = open_source(file, weights, options)
    converted = convert(without_traces(source.model), source.original, source.options)
    shown = table(
        converted, source.origin.file, source.origin.format, opset_version(source.model), options.freeze_random
    )
    print(shown, file=sys.stdout if dry_run else sys.stderr)
    if dry_run or to is None or name is None:
        return None
    return write_checked(to, _card(name, next_version(to, name), source, converted, about), converted.graph, "packed")


def _card(name: str, version: int, source: Source, converted: Converted, about: About) -> Card:
    plan = converted.plan
    origin = source.origin.model_copy(
        update={
            "inputs": describe_inputs(plan),
            "output": describe_output(plan),
            "frozen": converted.frozen,
            "frozen_seed": (source.options.freeze_random or 0) if converted.frozen else None,
        }
    )
    return Card(
        name=name,
        version=version,
        created=datetime.now(UTC).replace(microsecond=0),
        architecture=about.architecture,
        noise_dim=plan.inputs.noise.size,
        labels=plan.labels,
        image=plan.output.image,
        sha256=hashlib.sha256(converted.graph).hexdigest(),
        opset=opset_version(source.model),
        precision=converted.precision,
        batch_size=plan.batch,
        training=None,
        origin=origin,
        parity=converted.parity if converted.is_independent else None,
        licence=about.licence,
        intended_use=about.intended_use,
    )
