"""What the tuner is worth: TPE with pruning against random search, and the winner against the preset.

    python -m benchmarks.training.tuning digits --data MNIST.parquet --out tuning --trials 30 --images 120000

Two studies over the same space, budget, judge and trial 0. Random search spends every trial's budget; TPE with pruning
goes on until it has seen as many images. Told are the images after which TPE has reached random search's best, and, of
TPE's winner, the mean on three fresh seeds beside the preset's. A study that was cut short goes on.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from training.data import load_images
from training.device import best_precision
from training.distributed import joined_processes
from training.errors import TrainingError
from training.judge.train import judge_for
from training.tuner.pruning import PRESET
from training.tuner.queue import identity_of
from training.tuner.report import write_report
from training.tuner.space import read_space
from training.tuner.storage import Journal
from training.tuner.study import IMAGES, Plan, SamplerName, Study
from training.tuner.trial import Workshop
from training.tuner.worker import work

SEEDS = 3


def main() -> None:
    """Searches twice, runs the best again, and writes OUT/tuning.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", help="a space that ships, or a YAML file")
    parser.add_argument("--data", required=True, help="training images, as for fit")
    parser.add_argument("--out", type=Path, required=True, help="the folder of both studies and the result")
    parser.add_argument("--trials", type=int, default=30, help="of random search; TPE gets as many images")
    parser.add_argument("--images", type=int, help="the budget of each run; the preset's without it")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="fresh seeds for the best")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    began = time.perf_counter()
    random = search(options, "random", prune=False)
    work(random, options.trials, seeds=0)
    tpe = search(options, "tpe", prune=True)
    trials = options.trials
    while True:
        work(tpe, trials, seeds=0)
        if tpe.images_seen() >= random.images_seen():
            break
        trials += 1
    work(tpe, trials, options.seeds)

    result = compare(random, tpe)
    result["seconds"] = time.perf_counter() - began
    result["reports"] = [str(write_report(study)) for study in (random, tpe)]
    (options.out / "tuning.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def search(options: argparse.Namespace, sampler: SamplerName, prune: bool) -> Study:
    """A study with this sampler, begun or gone on with."""
    space, faults = read_space(options.space)
    if faults:
        raise TrainingError("; ".join(faults))
    folder = options.out / sampler
    folder.mkdir(parents=True, exist_ok=True)
    with joined_processes() as processes:
        images = options.images or space.base_values()["images"]
        plan = Plan(space, images, sampler, prune, best_precision(processes.device))
        data = load_images(options.data, plan.base.data)
        shop = Workshop(options.data, data, judge_for(data), processes)
        return Study(folder, Journal(folder), plan, shop)


def compare(random: Study, tpe: Study) -> dict[str, Any]:
    """The figures."""
    goal = min(trial.value for trial in random.ranking() if trial.value is not None)
    reached = images_until(tpe.search.trials, goal)
    finalists = tpe.finalists()
    winner = finalists[0]
    preset = next(finalist for finalist in finalists if identity_of(finalist.trial) == PRESET)
    return {
        "judge": tpe.workshop.judge.name,
        "images_each": tpe.plan.images,
        "random": {"trials": len(random.search.trials), "images": random.images_seen(), "best": goal},
        "tpe": {
            "trials": len(tpe.search.trials),
            "ended_early": sum(trial.state == TrialState.PRUNED for trial in tpe.search.trials),
            "images": tpe.images_seen(),
            "best": tpe.ranking()[0].value,
        },
        "tpe_images_to_random_best": reached,
        "share_of_random_images": None if reached is None else reached / random.images_seen(),
        "winner": {"trial": identity_of(winner.trial), "objectives": winner.values, "mean": winner.mean},
        "preset": {"objectives": preset.values, "mean": preset.mean},
        "winner_of_preset": winner.mean / preset.mean,
    }


def images_until(trials: list[FrozenTrial], goal: float) -> int | None:
    """Images that trials, one after the other, have seen when the first of them is as good as the goal."""
    seen = 0
    for trial in trials:
        seen += int(trial.user_attrs[IMAGES])
        if trial.value is not None and trial.value <= goal:
            return seen
    return None


if __name__ == "__main__":
    main()
