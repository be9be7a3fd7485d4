"""Compares minimax, non-saturating and least-squares loss at one budget, on several seeds each.

    python -m benchmarks.training.losses --mnist MNIST.parquet --cifar10 CIFAR10.parquet --out docs/losses

Everything else is equal: a DCGAN with the same optimisers, and the same images in the same order for the same seed.
The comparison is the final distance of the EMA generator, by the data set's own judge.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from training.config.files import load_config
from training.config.schema import Config
from training.data.dataset import load_images
from training.evaluation.in_loop import LoopJudge
from training.evaluation.judge.train import judge_for
from training.loop.callbacks import Callback
from training.loop.fit import fit
from training.loop.precision import choose_precision
from training.loop.state import TrainingState
from training.parallel.distributed import Processes
from training.runs.sampling import grid_inputs, image_grid, sample

CONFIGURATION = Path(__file__).with_name("dcgan.yaml")
LOSSES = ("minimax", "non_saturating", "least_squares")
IMAGES_SEEN = 60_000
SAMPLES = 5_000
SINGLE_PROCESS = Processes(0, 1, torch.device("cpu"))

COLOUR = ["data.channels=3", "data.fit=pad"]


def configuration(dataset: str, loss: str, seed: int, images: int) -> Config:
    """Returns ``dcgan.yaml`` at half its width, in colour for CIFAR-10."""
    settings = [f"loss={loss}", f"seed={seed}", f"images={images}", "network.width=32", "judge=null"]
    config = load_config(str(CONFIGURATION), [*settings, *(COLOUR if dataset == "cifar10" else [])])
    return config.model_copy(update={"precision": choose_precision(config, torch.device("cpu")).precision})


def main() -> None:
    """Trains every run and prints its scores. Writes OUT.json, OUT.md and a picture per data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True, help="MNIST's training images as a Parquet file")
    parser.add_argument("--cifar10", type=Path, required=True, help="CIFAR-10's training images as a Parquet file")
    parser.add_argument("--out", type=Path, required=True, help="path of the results, without a suffix")
    parser.add_argument("--images", type=int, default=IMAGES_SEEN, help="the budget of each run, in images seen")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each loss")
    options = parser.parse_args()

    results: dict[str, Any] = {"images_seen": options.images, "samples": SAMPLES, "datasets": {}}
    for dataset, source in (("mnist", options.mnist), ("cifar10", options.cifar10)):
        base = configuration(dataset, LOSSES[0], 0, options.images)
        data = load_images(str(source), base.data)
        judge = LoopJudge(data, SAMPLES, judge_for(data), base.network.noise_dim, conditional=True)
        runs, cells = [], []
        for loss in LOSSES:
            for seed in range(options.seeds):
                state = TrainingState(configuration(dataset, loss, seed, options.images), 10, torch.device("cpu"))
                if not fit(configuration(dataset, loss, seed, options.images), data, state, SINGLE_PROCESS, Callback()):
                    raise SystemExit(130)
                run = {"loss": loss, "seed": seed, **judge.score(state.ema)}
                print(json.dumps({"dataset": dataset, **run}), flush=True)
                runs.append(run)
                if seed == 0:
                    cells.append(grid(state))
        about = {
            "judge": judge.name,
            "floor": judge.real_baseline["fxd"],
            "ceiling": judge.noise_baseline["fxd"],
            "runs": runs,
        }
        results["datasets"][dataset] = about
        picture(cells).save(options.out.with_name(f"{options.out.name}-{dataset}.png"))
        options.out.with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(table(results))


def grid(state: TrainingState) -> NDArray[np.uint8]:
    """Returns eight rows of the ten labels, on the same noise as every grid of samples."""
    noise, label = grid_inputs(64, 10)
    return np.asarray(image_grid(sample(state.ema, noise, label), 10))


def picture(cells: list[NDArray[np.uint8]]) -> Image.Image:
    """Returns the grids of all losses side by side."""
    frame = ((0, 0), (0, 8), *(((0, 0),) * (cells[0].ndim - 2)))
    return Image.fromarray(np.concatenate([np.pad(cell, frame, constant_values=255) for cell in cells], axis=1))


def table(results: dict[str, Any]) -> str:
    """Returns mean and standard deviation over the seeds as a Markdown table, best first."""
    rows = ["| data | loss | distance | coverage | (distance - floor) / (ceiling - floor) |", "|---|---|---|---|---|"]
    for dataset, about in results["datasets"].items():
        lines = []
        for loss in LOSSES:
            runs = [run for run in about["runs"] if run["loss"] == loss]
            distance, spread = _mean_and_deviation([run["fxd"] for run in runs])
            coverage, coverage_spread = _mean_and_deviation([run["coverage"] for run in runs])
            share = (distance - about["floor"]) / (about["ceiling"] - about["floor"])
            text = f"{distance:.2f} ± {spread:.2f} | {coverage:.3f} ± {coverage_spread:.3f} | {share:.3f} |"
            lines.append((distance, f"| {dataset} | `{loss}` | {text}"))
        rows += [line for _, line in sorted(lines)]
    return "\n".join(rows) + "\n"


def _mean_and_deviation(values: list[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
