r"""Measures tuning: the images that TPE with pruning needs to match the best trial of random search.

    python -m benchmarks.training.tuning digits --data MNIST.parquet --out tuning --trials 30 --images 20000 \
      --repeats 12 --set network.width=16 --set judge.samples=1000

A repetition is two studies over the same space, with the same budget, judge and trial 0. Random search spends every
trial's budget. TPE with pruning stops once a trial is as good as random search's best, or once it has seen as many
images. The best of thirty random trials depends on luck, so there are several repetitions, one per core at a time.
Finished repetitions are read from their files.
"""

import argparse
import json
import math
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from serving.config.cores import usable_cores
from training.config.strict_yaml import parse_yaml
from training.console import console
from training.data.dataset import load_images
from training.errors import TrainingError
from training.evaluation.judge.train import judge_for
from training.files import write_atomic
from training.parallel.distributed import joined_processes
from training.tuning.space.reading import read_space
from training.tuning.space.space import Space
from training.tuning.study.plan import SamplerName, StudyPlan
from training.tuning.study.storage import Journal
from training.tuning.study.study import IMAGES, Study
from training.tuning.trial.run import TrialContext
from training.tuning.worker import work


def main() -> None:
    """Runs the comparison, prints a table and writes OUT/tuning.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", help="a space that ships, or a YAML file")
    parser.add_argument("--data", required=True, help="training images, as for fit")
    parser.add_argument("--out", type=Path, required=True, help="the folder of all studies and the result")
    parser.add_argument("--trials", type=int, default=30, help="of random search; TPE gets as many images at most")
    parser.add_argument("--images", type=int, help="the budget of each run (default: the preset's)")
    parser.add_argument("--repeats", type=int, default=1, help="pairs of studies")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="in every trial, as for fit")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of every trial")
    options = parser.parse_args()
    judge_for(load_images(options.data, _plan(options, "random").base.data))  # trained once, not in every process

    with ProcessPoolExecutor(usable_cores(), multiprocessing.get_context("spawn"), _use_one_core) as pool:
        repetitions = [*pool.map(partial(compare, options), range(options.repeats))]
    result = summary(repetitions)
    (options.out / "tuning.json").write_text(json.dumps(result, indent=2) + "\n")
    for number, row in enumerate(repetitions):
        print(
            f"{number:3}  random: {row['random_best']:8.3f} after {row['random_best_images']:8} of "
            f"{row['random_images']} images   TPE: {row['tpe_best']:8.3f}, as good after {row['tpe_images_to_it']}, "
            f"{row['tpe_ended_early']} of {row['tpe_trials']} trials ended early"
        )
    print({key: value for key, value in result.items() if key != "repetitions"})


def compare(options: argparse.Namespace, number: int) -> dict[str, Any]:
    """Returns one repetition's figures, from its file if it is finished."""
    folder = options.out / f"{number:02d}"
    result_file = folder / "comparison.json"
    if result_file.exists():
        figures: dict[str, Any] = json.loads(result_file.read_text())
        return figures
    console.quiet = True
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    random = _study(options, folder, "random")
    work(random, options.trials, seeds=0)
    goal = random.ranking()[0].value
    assert goal is not None  # the best trial has spent its budget
    tpe = _study(options, folder, "tpe")
    reached = images_until(tpe.search.trials, goal)
    while reached is None and tpe.images_seen() < random.images_seen():
        # The preset's trial waits from the start on, and counts once it has ended.
        work(tpe, sum(trial.state.is_finished() for trial in tpe.search.trials) + 1, seeds=0)
        reached = images_until(tpe.search.trials, goal)
    figures = {
        "random_best": goal,
        "random_best_images": images_until(random.search.trials, goal),
        "random_images": random.images_seen(),
        "tpe_best": tpe.ranking()[0].value,
        "tpe_images": tpe.images_seen(),
        "tpe_images_to_it": reached,
        "tpe_trials": len(tpe.search.trials),
        "tpe_ended_early": sum(trial.state == TrialState.PRUNED for trial in tpe.search.trials),
        "share": None if reached is None else reached / random.images_seen(),
    }
    write_atomic(result_file, json.dumps(figures).encode())
    return figures


def summary(repetitions: list[dict[str, Any]]) -> dict[str, Any]:
    """Summarises all repetitions; one in which TPE missed the goal counts as worse than any other."""
    shares = [math.inf if row["share"] is None else row["share"] for row in repetitions]
    median = statistics.median(shares)
    return {
        "repetitions": repetitions,
        "median_share_of_random_images": None if math.isinf(median) else median,
        "within_half": sum(share <= 0.5 for share in shares),
        "of": len(shares),
    }


def images_until(trials: list[FrozenTrial], goal: float) -> int | None:
    """Returns the images that consecutive trials have seen once the first is as good as the goal, or None."""
    seen = 0
    for trial in trials:
        seen += int(trial.user_attrs.get(IMAGES, 0))
        if trial.value is not None and trial.state == TrialState.COMPLETE and trial.value <= goal:
            return seen
    return None


def _use_one_core() -> None:
    torch.set_num_threads(1)


def _plan(options: argparse.Namespace, sampler: SamplerName) -> StudyPlan:
    space, errors = read_space(options.space)
    if errors:
        raise TrainingError("; ".join(errors))
    overrides = {key: parse_yaml(text, key) for key, _, text in (change.partition("=") for change in options.set)}
    space = Space(preset=space.preset, settings={**space.settings, **overrides}, search=space.search)
    images = options.images or space.base_values()["images"]
    return StudyPlan(space, images, sampler, sampler == "tpe", options.precision)


def _study(options: argparse.Namespace, folder: Path, sampler: SamplerName) -> Study:
    """Starts or continues the study of a sampler."""
    plan = _plan(options, sampler)
    with joined_processes() as processes:
        data = load_images(options.data, plan.base.data)
        (folder / sampler).mkdir(parents=True, exist_ok=True)
        return Study(
            folder / sampler,
            Journal(folder / sampler),
            plan,
            TrialContext(options.data, data, judge_for(data), processes),
        )


if __name__ == "__main__":
    main()
