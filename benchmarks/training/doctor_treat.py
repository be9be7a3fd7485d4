r"""Trains small sick and healthy runs twice, with ``doctor: watch`` and with ``doctor: treat``, at equal images.

    python -m benchmarks.training.doctor_treat --mnist MNIST.parquet --cifar10 CIFAR10.parquet --folder PICTURES \
      --out treat --hours 2

Each run is one file in OUT's folder ``parts``, and the same command goes on where it stopped. One process on one core
trains one run after the other, about a minute each. OUT's ``table.md`` compares the scores: fxd of the data set's own
judge, smaller is better. A run is *rescued* if it was not given up, and its last score is below 0.8 × that of the same
run without treatment.
"""

import argparse
import json
import math
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.training.doctor_runs import BASE, FEW, NETWORKS, SINGLE_PROCESS
from training.config.files import load_config
from training.data.dataset import load_images
from training.errors import DivergenceError
from training.evaluation.in_loop import LoopJudge
from training.evaluation.judge.train import judge_for
from training.files import write_atomic
from training.loop.fit import fit
from training.loop.state import TrainingState
from training.runs.doctor_log import replay
from training.runs.folder import RunFolder
from training.runs.json_lines import read_lines
from training.runs.reporter import Reporter

MODES = ("watch", "treat")
SCORES, SAMPLES = 20, 1_000
"""Scorings of each run, and images of each scoring."""
BUDGET_SHARE = 0.5
"""Of the budgets of ``doctor_runs``, which take about two minutes."""
RESCUED = 0.8


@dataclass(frozen=True)
class Case:
    """A run that is repeated on several seeds."""

    name: str
    sick: bool
    dataset: str
    network: str
    settings: tuple[str, ...]
    few: bool = False
    """Whether it gets 500 images only."""


CASES = (
    Case(
        "discriminator rate × 20", True, "mnist", "dcgan-plain",
        ("loss=non_saturating", "discriminator_optimizer.learning_rate=0.004"),
    ),
    Case(
        "500 images, no regulariser", True, "cifar10", "dcgan-plain",
        ("loss=hinge", "discriminator_optimizer.learning_rate=0.0004"), few=True,
    ),
    Case(
        "both rates × 20", True, "folder", "dcgan-batch",
        ("loss=hinge", "discriminator_optimizer.learning_rate=0.004", "generator_optimizer.learning_rate=0.004"),
    ),
    Case(
        "critic without a bound", True, "cifar10", "dcgan-plain",
        ("loss=wasserstein", "regularization.r1=0.000001"),
    ),
    Case(
        "generator rate × 20", True, "mnist", "dcgan-spectral",
        ("loss=hinge", "generator_optimizer.learning_rate=0.004"),
    ),
    Case(
        "momentum", True, "folder", "dcgan-plain",
        (
            "loss=non_saturating", "discriminator_optimizer.beta1=0.95", "generator_optimizer.beta1=0.95",
            "discriminator_optimizer.learning_rate=0.001", "generator_optimizer.learning_rate=0.001",
        ),
    ),
    Case(
        "saturating loss, quick discriminator", True, "cifar10", "dcgan-plain",
        ("loss=minimax", "discriminator_optimizer.learning_rate=0.001"),
    ),
    Case(
        "relativistic without penalties", True, "mnist", "r3gan",
        ("loss=relativistic", "discriminator_optimizer.learning_rate=0.001"),
    ),
    Case("healthy: batch normalisation", False, "mnist", "dcgan-batch", ("loss=non_saturating",)),
    Case("healthy: R1", False, "cifar10", "dcgan-plain", ("loss=non_saturating", "regularization.r1=1")),
    Case("healthy: spectral, hinge", False, "folder", "dcgan-spectral", ("loss=hinge",)),
    Case(
        "healthy: relativistic, R1 and R2", False, "cifar10", "r3gan",
        ("loss=relativistic", "regularization.r1=0.3", "regularization.r2=0.3"),
    ),
)  # fmt: skip

RATES = ("discriminator_optimizer.learning_rate=0.0002", "generator_optimizer.learning_rate=0.0002")
"""Of every case that names no other."""


def train(case: Case, seed: int, mode: str, sources: dict[str, str]) -> dict[str, Any]:
    """Trains one run and returns how it went."""
    sizes, budget = NETWORKS[case.network]
    images = round(BUDGET_SHARE * budget)
    shared = [
        *BASE, *sizes, *RATES, f"seed={seed}", f"data.channels={1 if case.dataset == 'mnist' else 3}",
        "batch_size=64", f"images={images}", f"ema.half_lives=[{images // 100}]", f"pace.tick={images // 100}",
        f"pace.samples={2 * images}", f"pace.checkpoint={2 * images}", "regularization.r1=0",
        "regularization.r2=0", "regularization.interval=1", "discriminator_optimizer.beta1=0.5",
        "generator_optimizer.beta1=0.5",
        f"judge={{every: {images // SCORES}, samples: {SAMPLES}}}", f"doctor={mode}",
    ]  # fmt: skip
    config = load_config("digits", [*shared, *case.settings])
    everything = load_images(sources[case.dataset], config.data)
    judge = LoopJudge(everything, SAMPLES, judge_for(everything), config.network.noise_dim, conditional=False)
    few = replace(everything, images=everything.images[:FEW], labels=None, label_names=None)
    data = few if case.few else everything
    folder = Path(tempfile.mkdtemp(prefix="doctor-treat-"))
    state = TrainingState(config, 0, SINGLE_PROCESS.device)
    try:
        run = RunFolder.create(folder / "run", config, sources[case.dataset], data)
        diverged, seconds = False, time.process_time()
        try:
            finished = fit(config, data, state, SINGLE_PROCESS, Reporter(run, data, state, lambda: judge, quiet=True))
            if not finished and state.given_up is None:
                raise SystemExit(130)
        except DivergenceError:
            diverged = True
        known, scores = replay(run.path, config), [line["fxd"] for line in read_lines(run.scores)]
        return {
            "case": case.name,
            "seed": seed,
            "mode": mode,
            "noise_score": judge.noise_baseline["fxd"],
            "real_score": judge.real_baseline["fxd"],
            "scores": scores,
            "diverged": diverged,
            "images": state.images_seen,
            "findings": [[finding.condition.name, finding.step / images] for finding in known.case.findings],
            "treatments": [
                [course.treatment.images_seen / images, str(course.treatment), course.before, course.after]
                for course in known.courses
            ],
            "given_up": known.given_up,
            "seconds": time.process_time() - seconds,
        }
    finally:
        shutil.rmtree(folder)


def last(run: dict[str, Any]) -> float:
    """Returns a run's last score; infinite for one that ended with NaN."""
    return math.inf if run["diverged"] or not run["scores"] else float(run["scores"][-1])


def best(run: dict[str, Any]) -> float:
    """Returns a run's best score, which ``export`` takes."""
    return min(run["scores"], default=math.inf)


def table(runs: list[dict[str, Any]]) -> str:
    """Returns the comparison as Markdown."""
    known = {(run["case"], run["seed"], run["mode"]): run for run in runs}
    columns = ["case", "named in", "conditions", "treated in", "ended early"]
    columns += [*(f"{score}, {mode}" for score in ("last", "best") for mode in MODES), "rescued"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for case in CASES:
        seeds = [seed for name, seed, mode in known if (name, mode) == (case.name, "treat")]
        watched = [known[case.name, seed, "watch"] for seed in seeds]
        treated = [known[case.name, seed, "treat"] for seed in seeds]
        if not seeds:
            continue
        conditions = sorted({name for run in watched for name, _ in run["findings"]})
        rescued = sum(
            not one["given_up"] and last(one) < RESCUED * last(other)
            for other, one in zip(watched, treated, strict=True)
        )
        figures = [_spread([figure(run) for run in group]) for figure in (last, best) for group in (watched, treated)]
        cells = [
            case.name,
            f"{sum(bool(run['findings']) for run in watched)} of {len(seeds)}",
            ", ".join(conditions) or "–",
            f"{sum(bool(run['treatments']) for run in treated)} of {len(seeds)}",
            f"{sum(bool(run['given_up']) for run in treated)} of {len(seeds)}",
            *figures,
            f"{rescued} of {len(seeds)}" if case.sick else "–",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    each = ", ".join(f"{value:.3g}" for value in values)
    return f"{statistics.fmean(values):.3g} ({each})" if len(values) > 1 else each


def main() -> None:
    """Trains the runs that have no file yet, and writes the table after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mnist", "cifar10", "folder"):
        parser.add_argument(f"--{name}", required=True, help="training images, as for fit")
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each case and mode")
    parser.add_argument("--hours", type=float, default=math.inf, help="start no run after this time")
    parser.add_argument("--only", default="", help="only cases whose name contains this text")
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts, began = options.out / "parts", time.monotonic()
    parts.mkdir(parents=True, exist_ok=True)
    sources = {name: getattr(options, name) for name in ("mnist", "cifar10", "folder")}
    for seed in range(options.seeds):
        for number, case in enumerate(CASES):
            for mode in MODES:
                part = parts / f"{number:02d}-{seed}-{mode}.json"
                if part.exists() or options.only not in case.name or time.monotonic() - began > options.hours * 3600:
                    continue
                run = train(case, seed, mode, sources)
                write_atomic(part, json.dumps(run).encode())
                found = ", ".join(dict.fromkeys(name for name, _ in run["findings"])) or "nothing found"
                print(f"{case.name}, seed {seed}, {mode}: last {last(run):.3g}, best {best(run):.3g}, {found}, "
                      f"{len(run['treatments'])} treatments, {run['seconds']:.0f} s", flush=True)  # fmt: skip
                runs = [json.loads(path.read_text()) for path in sorted(parts.glob("*.json"))]
                write_atomic(options.out / "table.md", table(runs).encode())
    runs = [json.loads(path.read_text()) for path in sorted(parts.glob("*.json"))]
    print(table(runs))


if __name__ == "__main__":
    main()
