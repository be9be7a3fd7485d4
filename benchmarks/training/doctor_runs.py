r"""Trains sixty short runs, a third of them sick in a known way, and writes their signals and scores as one CSV.

    python -m benchmarks.training.doctor_runs --mnist MNIST.parquet --cifar10 CIFAR10.parquet --folder PICTURES \
      --out runs.csv --hours 2

A run's own judge says how it went, so nobody has to look at pictures: the column ``score`` is the distance fxd of the
EMA generator, smaller is better. Every run is one file in OUT's folder ``parts``; the same command goes on where it
stopped. One process on one core trains one run after the other.
"""

import argparse
import csv
import io
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config.files import load_config
from training.config.schema import Config
from training.data.dataset import TrainingImages, load_images
from training.data.pixels import to_range
from training.data.split import training_indices
from training.errors import DivergenceError
from training.evaluation.in_loop import LoopJudge
from training.evaluation.judge.train import judge_for
from training.files import write_atomic
from training.loop.callbacks import Callback, passed_multiple
from training.loop.fit import fit
from training.loop.state import TrainingState
from training.parallel.distributed import Processes

SINGLE_PROCESS = Processes(0, 1, torch.device("cpu"))
ROWS, SCORES = 300, 20
"""Rows and scorings of each run."""
SAMPLES = 1_000
"""Images of each scoring."""
PROBES = 500
"""Real images whose logits are compared: seen in training, and held out."""
FEW = 500
"""Images of a data set that is too small."""

COLUMNS = (
    "run", "ailment", "adv_loss", "batch_size", "d_steps", "step", "d_loss", "g_loss", "real_logit", "fake_logit",
    "d_gradient", "g_gradient", "train_logit", "held_out_logit", "score", "noise_score",
)  # fmt: skip
"""``ailment`` is what the run was given to make it sick, empty for none. ``train_logit`` and ``held_out_logit`` come
from the discriminator in evaluation mode, on images that it trains on and on others. ``noise_score`` is the score of
noise."""

METRICS = {
    "d_loss": "discriminator_loss",
    "g_loss": "generator_loss",
    "real_logit": "real_logit",
    "fake_logit": "fake_logit",
    "d_gradient": "discriminator_gradient_norm",
    "g_gradient": "generator_gradient_norm",
}

ADV_LOSS = {"non_saturating": "vanilla", "least_squares": "least_square"}
"""Figment's name → StudioGAN's, where they differ."""

BASE = [
    "judge=null", "precision=float32", "conditional=false", "data.fit=crop", "data.resolution=16", "network.width=16",
    "data.labels=none", "ema.ramp=0.05", "network.upsampling=transposed", "regularization.r1=2.2",
    "discriminator_optimizer.beta2=0.999", "generator_optimizer.beta2=0.999",
]  # fmt: skip
"""Laid over ``digits``. Whatever becomes of the preset, these runs stay those that the guide tells of."""

NETWORKS = {
    "dcgan-batch": (["network.discriminator_norm=batch"], 480_000),
    "dcgan-spectral": (["network.discriminator_norm=spectral"], 400_000),
    "dcgan-plain": (["network.discriminator_norm=none"], 360_000),
    "sngan": (["network.family=sngan", "network.generator_width=16", "network.discriminator_width=16"], 120_000),
    "r3gan": (
        ["network.family=r3gan", "network.width=16", "network.max_width=32", "network.group_width=8"],
        100_000,
    ),
}
"""Networks, and a budget in images that takes about two minutes of one core."""

RECIPES = {
    "dcgan-batch": (
        ["loss=non_saturating"],
        ["loss=least_squares"],
        ["loss=hinge"],
        ["loss=minimax"],
    ),
    "dcgan-spectral": (
        ["loss=hinge"],
        ["loss=non_saturating", "discriminator_steps=2"],
        ["loss=wasserstein"],
    ),
    "dcgan-plain": (
        ["loss=wasserstein", "regularization.gradient_penalty=10"],
        ["loss=non_saturating", "regularization.r1=1"],
        ["loss=least_squares", "regularization.r1=0.3"],
    ),
    "sngan": (["loss=hinge"], ["loss=non_saturating", "regularization.r1=0.1", "regularization.interval=4"]),
    "r3gan": (["loss=relativistic", "regularization.r1=0.3", "regularization.r2=0.3"],),
}
"""Networks → losses with what they need."""

AILMENTS = {
    "discriminator rate × 20": ["discriminator_optimizer.learning_rate=0.004"],
    "both rates × 20": ["discriminator_optimizer.learning_rate=0.004", "generator_optimizer.learning_rate=0.004"],
    "generator rate × 20": ["generator_optimizer.learning_rate=0.004"],
    "few images": ["discriminator_optimizer.learning_rate=0.0004"],
    "tiny generator": [],
    "weak discriminator": ["discriminator_optimizer.learning_rate=0.000004"],
    "momentum": [
        "discriminator_optimizer.beta1=0.95",
        "generator_optimizer.beta1=0.95",
        "discriminator_optimizer.learning_rate=0.001",
        "generator_optimizer.learning_rate=0.001",
    ],
    "critic without a bound": ["loss=wasserstein", "regularization.r1=0.000001"],
}
"""Name → settings. Few images also limits the data; a tiny generator needs a family with two widths."""


@dataclass(frozen=True)
class Case:
    """One run."""

    name: str
    ailment: str
    dataset: str
    images: int
    settings: tuple[str, ...]


def cases() -> list[Case]:
    """Returns the sixty runs, always the same; the sick ones are spread evenly among the others."""
    random = np.random.RandomState(17)
    datasets = cycle(("mnist", "cifar10", "folder"))
    found, healthy = _recipes(), list[Case]()
    for dataset in islice(datasets, 40):
        # Every recipe comes three times, in an order that pairs it with all data sets.
        network, recipe = found[(len(healthy) * 5 + len(healthy) // len(found)) % len(found)]
        batch_size = int(random.choice([16, 32, 64, 64, 128, 256, 512]))
        rate = float(random.choice([0.0001, 0.0002, 0.0002, 0.0004])) * math.sqrt(batch_size / 64)
        rates = [f"{player}_optimizer.learning_rate={rate:.6f}" for player in ("discriminator", "generator")]
        healthy.append(_case(len(healthy), "", dataset, network, batch_size, [*recipe, *rates]))
    sick = list[Case]()
    for ailment, dataset in zip(islice(cycle(AILMENTS), 20), datasets, strict=False):
        network, recipe = _recipe_for(ailment, random)
        batch_size = int(random.choice([32, 64, 128, 256]))
        sick.append(_case(40 + len(sick), ailment, dataset, network, batch_size, [*recipe, *AILMENTS[ailment]]))
    return [case for pair in zip(healthy[::2], healthy[1::2], sick, strict=True) for case in pair]


def _recipes() -> list[tuple[str, list[str]]]:
    return [(network, recipe) for network, recipes in RECIPES.items() for recipe in recipes]


def _recipe_for(ailment: str, random: np.random.RandomState) -> tuple[str, list[str]]:
    if ailment == "critic without a bound":
        return "dcgan-plain", []
    if ailment == "tiny generator":
        sizes = ["network.generator_width=8", "network.discriminator_width=24", "network.noise_dim=4"]
        return "sngan", ["loss=hinge", *sizes]
    if ailment == "few images":
        losses = ("non_saturating", "hinge", "least_squares")
        return "dcgan-plain", [f"loss={losses[random.randint(3)]}"]
    found = _recipes()
    return found[random.randint(len(found))]


def _case(number: int, ailment: str, dataset: str, network: str, batch_size: int, settings: list[str]) -> Case:
    sizes, images = NETWORKS[network]
    everything = [
        f"seed={number}", f"data.channels={1 if dataset == 'mnist' else 3}", f"batch_size={batch_size}",
        f"images={images}", f"pace.tick={batch_size}", f"ema.half_lives=[{images // 100}]", *sizes, *settings,
    ]  # fmt: skip
    loss = next(setting for setting in reversed(settings) if setting.startswith("loss=")).removeprefix("loss=")
    return Case(f"{number:02d}-{dataset}-{network}-{loss}", ailment, dataset, images, tuple(everything))


class _Recorder(Callback):
    """Collects rows of the CSV: the signals of single steps as they are, not their means."""

    def __init__(self, case: Case, config: Config, state: TrainingState, judge: LoopJudge, data: TrainingImages):
        self.rows: list[dict[str, str]] = []
        self._case, self._config, self._state, self._judge = case, config, state, judge
        self._latest: dict[str, float] = {}
        self._seen_images = _probe(data, training_indices(len(data), config.data.holdout))
        training = set(training_indices(len(data), config.data.holdout).tolist())
        self._unseen = _probe(data, np.array([index for index in range(len(data)) if index not in training]))

    def tick(self, images_seen: int, means: dict[str, float]) -> None:
        self._latest.update(means)

    def step(self, before: int, images_seen: int) -> None:
        # A batch may be larger than an interval, and then every step passes one.
        row = passed_multiple(before, images_seen, max(1, self._case.images // ROWS))
        if "generator_loss" in self._latest and row:
            scored = passed_multiple(before, images_seen, self._case.images // SCORES)
            self.record(images_seen, self._scored() if scored else {})

    def record(self, images_seen: int, values: dict[str, float]) -> None:
        """Adds a row with the latest value of every signal."""
        signals = {column: self._latest[name] for column, name in METRICS.items() if name in self._latest}
        loss = self._config.loss
        self.rows.append(
            {
                "run": self._case.name,
                "ailment": self._case.ailment,
                "adv_loss": ADV_LOSS.get(loss, loss),
                "batch_size": str(self._config.batch_size),
                "d_steps": str(self._config.discriminator_steps),
                "step": str(images_seen // self._config.batch_size),
                **{name: f"{value:.5g}" for name, value in {**signals, **values}.items()},
            }
        )

    def record_divergence(self) -> None:
        """Adds a last row for a run whose weights are NaN or infinite; its score is infinite."""
        self._latest.update({"discriminator_loss": math.nan, "generator_loss": math.nan})
        self.record(self._state.images_seen, {"score": math.inf})

    def _scored(self) -> dict[str, float]:
        values = {
            "score": self._judge.score(self._state.ema)["fxd"],
            "noise_score": self._judge.noise_baseline["fxd"],
        }
        discriminator = self._state.discriminator
        discriminator.eval()
        with torch.no_grad():
            for name, images in (("train_logit", self._seen_images), ("held_out_logit", self._unseen)):
                values[name] = float(discriminator(images, None).mean())
        discriminator.train()
        return values


def _probe(data: TrainingImages, indices: NDArray[np.int64]) -> Tensor:
    chosen = np.sort(np.random.RandomState(0).permutation(indices)[:PROBES])
    return to_range(torch.from_numpy(data.images[chosen]).permute(0, 3, 1, 2))


def train(case: Case, sources: dict[str, str]) -> list[dict[str, str]]:
    """Trains a run and returns its rows."""
    config = load_config("digits", [*BASE, *case.settings])
    everything = load_images(sources[case.dataset], config.data)
    judge = LoopJudge(everything, SAMPLES, judge_for(everything), config.network.noise_dim, conditional=False)
    few = replace(everything, images=everything.images[:FEW], labels=None, label_names=None)
    data = few if case.ailment == "few images" else everything
    state = TrainingState(config, 0, SINGLE_PROCESS.device)
    recorder = _Recorder(case, config, state, judge, data)
    try:
        if not fit(config, data, state, SINGLE_PROCESS, recorder):
            raise SystemExit(130)
    except DivergenceError:
        recorder.record_divergence()
    return recorder.rows


def main() -> None:
    """Trains the runs that have no file yet, and writes OUT after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mnist", "cifar10", "folder"):
        parser.add_argument(f"--{name}", required=True, help="training images, as for fit")
    parser.add_argument("--out", type=Path, required=True, help="the CSV of all runs")
    parser.add_argument("--hours", type=float, default=math.inf, help="start no run after this time")
    parser.add_argument("--only", help="only runs whose name or ailment contains this text")
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts, began = options.out.parent / "parts", time.monotonic()
    parts.mkdir(parents=True, exist_ok=True)
    chosen = [case for case in cases() if not options.only or options.only in f"{case.name} {case.ailment}"]
    for case in chosen:
        part = parts / f"{case.name}.csv"
        if not part.exists() and time.monotonic() - began < options.hours * 3600:
            seconds = time.process_time()
            rows = train(case, {name: getattr(options, name) for name in ("mnist", "cifar10", "folder")})
            write_atomic(part, _csv(rows))
            seconds = time.process_time() - seconds
            print(f"{case.name} ({case.ailment or 'healthy'}): {len(rows)} rows, {seconds:.0f} s", flush=True)
    write_atomic(options.out, _csv([row for part in _finished(parts) for row in part]))


def _finished(parts: Path) -> Iterator[list[dict[str, str]]]:
    for path in sorted(parts.glob("*.csv")):
        with path.open(newline="") as file:
            yield [*csv.DictReader(file)]


def _csv(rows: list[dict[str, str]]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


if __name__ == "__main__":
    main()
