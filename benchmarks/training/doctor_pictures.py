r"""Trains one small run for each symptom of ``docs/troubleshooting.md``, and writes what ``diagnose`` draws and says.

    python -m benchmarks.training.doctor_pictures --mnist MNIST.parquet --cifar10 CIFAR10.parquet --out runs/symptoms

Runs that are there already are not trained again. Eleven runs take about seven minutes of one core.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import torch

from benchmarks.training.doctor_runs import BASE
from training.diagnosis.commands import describe
from training.diagnosis.figment_run import describe_actions, read_run
from training.diagnosis.picture import draw
from training.errors import DivergenceError
from training.train import train_new_run

JUDGE = "judge={every: 5000, samples: 500}"


@dataclass(frozen=True)
class Symptom:
    """A run that shows it."""

    name: str
    images: int
    settings: tuple[str, ...]
    dataset: str = "mnist"
    first: int | None = None
    """How many of its images the run gets; None = all."""
    preset: str = "digits"
    """``SHARED`` is laid over ``digits``."""


MOMENTUM = (
    "loss=non_saturating", "discriminator_optimizer.beta1=0.95", "generator_optimizer.beta1=0.95",
    "discriminator_optimizer.learning_rate=0.001", "generator_optimizer.learning_rate=0.001",
)  # fmt: skip

FEW_PHOTOGRAPHS = (
    "data.resolution=32", "data.labels=none", "data.holdout=0.2", "precision=float32", "regularization.r1=0.1", JUDGE,
    "pace.samples=1000000", "pace.checkpoint=1000000", "network.upsampling=transposed",
    "discriminator_optimizer.beta2=0.999", "generator_optimizer.beta2=0.999",
)  # fmt: skip
"""Laid over ``photos``, as ``BASE`` is over ``digits``."""

SYMPTOMS = (
    Symptom("critic", 60_000, ("loss=wasserstein", "regularization.r1=0.000001", JUDGE)),
    Symptom("saturating", 60_000, ("loss=minimax", "discriminator_optimizer.learning_rate=0.002", JUDGE)),
    Symptom(
        "saturating-treated", 60_000,
        ("loss=minimax", "discriminator_optimizer.learning_rate=0.002", JUDGE, "doctor=treat"),
    ),
    Symptom("critic-treated", 60_000, ("loss=wasserstein", "regularization.r1=0.000001", JUDGE, "doctor=treat")),
    Symptom("slow-discriminator", 40_000, ("loss=hinge", "discriminator_optimizer.learning_rate=0.000001", JUDGE)),
    Symptom("overfits", 60_000, ("augmentation.diff_augment=[]", *FEW_PHOTOGRAPHS), "cifar10", 400, "photos"),
    Symptom("overfits-not", 60_000, FEW_PHOTOGRAPHS, "cifar10", 400, "photos"),
    Symptom("momentum", 60_000, (*MOMENTUM, JUDGE)),
    Symptom("momentum-treated", 60_000, (*MOMENTUM, JUDGE, "doctor=treat")),
    Symptom(
        "oscillation", 60_000,
        (
            "data.channels=3", "loss=minimax", "network.discriminator_norm=none",
            "discriminator_optimizer.learning_rate=0.001", "seed=4", JUDGE,
        ),
        "cifar10",
    ),
    Symptom(
        "dead-discriminator", 40_000,
        (
            "loss=hinge", "network.family=sngan", "network.generator_width=16", "network.discriminator_width=16",
            "discriminator_optimizer.learning_rate=0.1", "generator_optimizer.learning_rate=0.1", JUDGE,
        ),
    ),
)  # fmt: skip

SHARED = [
    *(setting for setting in BASE if setting != "ema.ramp=0.05"),
    "batch_size=64", "regularization.r1=0", "regularization.interval=1", "ema.half_lives=[1000]", "pace.tick=10000",
    "pace.samples=1000000", "pace.checkpoint=1000000", "data.holdout=0.2",
    *(f"{player}_optimizer={{learning_rate: 0.0002, beta1: 0.5, beta2: 0.999}}"
      for player in ("generator", "discriminator")),
]  # fmt: skip


def _source(symptom: Symptom, options: argparse.Namespace) -> str:
    """Returns the Parquet file of a run's images; one of the first few is written beside the runs."""
    whole: str = getattr(options, symptom.dataset)
    if symptom.first is None:
        return whole
    few = options.out / f"{symptom.dataset}-{symptom.first}.parquet"
    options.out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pq.read_table(whole).slice(0, symptom.first), few)
    return str(few)


def main() -> None:
    """Trains the runs that are missing, and prints and draws each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mnist", "cifar10"):
        parser.add_argument(f"--{name}", required=True, help="training images, as for fit")
    parser.add_argument("--out", type=Path, required=True, help="a folder for runs and pictures")
    parser.add_argument("--only", default="", help="only symptoms whose name contains this text")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for symptom in SYMPTOMS:
        if options.only not in symptom.name:
            continue
        run = options.out / symptom.name
        if not run.exists():
            try:
                settings = [*(SHARED if symptom.preset == "digits" else ()), *symptom.settings]
                train_new_run(symptom.preset, _source(symptom, options), settings, symptom.images, run)
            except DivergenceError as error:
                print(f"error: {error}")
        known, diagnosis = read_run(run)
        draw(known, diagnosis, options.out / f"doctor-{symptom.name}.png")
        print(describe(diagnosis), *describe_actions(known), sep="\n", end="\n\n", flush=True)


if __name__ == "__main__":
    main()
