"""Trains every network with every loss on a few photographs: whether it learns, how fast, and whether it exports.

    python -m benchmarks.training.networks --data CIFAR10.parquet --out docs/networks

The table is not a ranking. Each cell is one run of a small network with settings close to its family's paper, and
8 000 images are only a start. Speed is in images per second of processor time on one thread, so other work on the
machine hardly changes it.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from training.config.files import load_config
from training.config.schema import Config
from training.data.dataset import TrainingImages, load_images
from training.errors import TrainingError
from training.evaluation.in_loop import LoopJudge
from training.evaluation.judge.train import judge_for
from training.export import measure_parity, to_onnx
from training.loop.callbacks import Callback
from training.loop.fit import fit
from training.loop.precision import choose_precision
from training.loop.state import TrainingState
from training.objective.losses import LOSSES
from training.parallel.distributed import Processes
from training.runs.sampling import ImageGenerator, grid_inputs, image_grid, sample

IMAGES_SEEN = 8_000
PHOTOGRAPHS = 2_000
CELL = 4
"""Images per side of a cell of the picture."""

ADAM_OF_NORMS = ["learning_rate=0.0002", "beta1=0.5", "beta2=0.999"]
ADAM_OF_SPECTRAL_NORMS = ["learning_rate=0.0002", "beta1=0.0", "beta2=0.9"]
R1 = ["regularization.r1=0.1", "regularization.interval=4"]

FAMILIES: dict[str, tuple[list[str], list[str]]] = {
    "mlp": (
        ["network.width=256", "network.depth=2", "regularization.r1=10", "regularization.interval=1"],
        ["learning_rate=0.001", "beta1=0.0", "beta2=0.99"],
    ),
    "dcgan": (["network.width=32", "network.discriminator_norm=spectral"], ADAM_OF_NORMS),
    "sngan": (["network.generator_width=32", "network.discriminator_width=32"], ADAM_OF_SPECTRAL_NORMS),
    "biggan": (["network.width=8", "network.embedding_dim=32", "network.attention=16"], ADAM_OF_SPECTRAL_NORMS),
    "stylegan2": (
        ["network.width=16", "network.max_width=64", "network.style_dim=64", *R1],
        ["learning_rate=0.0025", "beta1=0.0", "beta2=0.99"],
    ),
    "r3gan": (
        ["network.width=32", "network.max_width=128", *R1],
        ["learning_rate=0.0002", "beta1=0.0", "beta2=0.99"],
    ),
}
"""Settings of each family's small network, and of both Adam optimisers."""


def configuration(family: str, loss: str, images: int) -> Config:
    """Returns the configuration of a cell: the preset's data, the family's optimisers, no augmentation but flips."""
    settings, adam = FAMILIES[family]
    optimizers = [
        f"{player}_optimizer.{setting}"
        for player in ("generator", "discriminator")
        for setting in [*adam, "schedule=constant", "final_beta2=null"]
    ]
    plain = [
        "regularization.r1=0",
        "regularization.r2=0",
        "regularization.gamma_schedule=constant",
        "augmentation.scheduled=null",
        "judge=null",
        "ema={half_lives: [2000], ramp: 0.05}",
    ]
    config = load_config(
        "cifar10",
        [
            f"network.family={family}",
            f"loss={loss}",
            f"images={images}",
            "batch_size=16",
            *plain,
            *optimizers,
            *settings,
        ],
    )
    return config.model_copy(update={"precision": choose_precision(config, torch.device("cpu")).precision})


def run(config: Config, data: TrainingImages, judge: LoopJudge) -> tuple[dict[str, Any], np.ndarray]:
    """Trains one cell. Returns its row of the table, and images uint8 [N, H, W, C] of its EMA generator."""
    labels = len(data.label_names or ())
    state = TrainingState(config, labels, torch.device("cpu"))
    before = judge.score(state.ema)
    start = time.process_time()
    try:
        if not fit(config, data, state, Processes(0, 1, torch.device("cpu")), Callback()):
            raise SystemExit(130)
        outcome = "trained"
    except TrainingError as error:
        outcome = str(error)
    seconds = time.process_time() - start
    after = judge.score(state.ema)
    network = ImageGenerator(state.ema).eval()
    graph = to_onnx(network, config.network.noise_dim, labels)
    parity = measure_parity(network, graph, config.network.noise_dim, labels)
    noise, label = grid_inputs(config.network.noise_dim, labels, rows=CELL, columns=CELL)
    line = {
        "family": config.network.family,
        "loss": config.loss,
        "outcome": outcome,
        "weights": sum(weight.numel() for weight in state.generator.parameters()),
        "fxd_before": before["fxd"],
        "fxd_after": after["fxd"],
        "coverage_before": before["coverage"],
        "coverage_after": after["coverage"],
        "images_per_cpu_second": state.images_seen / seconds,
        "parity": parity.max_difference,
    }
    return line, sample(state.ema, noise, label)


def first_images(data: Path, count: int, config: Config) -> TrainingImages:
    """Loads the first ``count`` images of a Parquet file."""
    import pyarrow.parquet as parquet

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"first-{count}.parquet"
        parquet.write_table(parquet.read_table(data).slice(0, count), path)
        return load_images(str(path), config.data)


def main() -> None:
    """Trains every cell, and writes OUT.json, OUT.md and OUT.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10's training images as a Parquet file")
    parser.add_argument("--out", type=Path, required=True, help="path of the results, without a suffix")
    parser.add_argument("--images", type=int, default=IMAGES_SEEN, help="the budget of each run, in images seen")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES))
    options = parser.parse_args()
    torch.set_num_threads(1)

    preset = load_config("cifar10")
    whole = load_images(str(options.data), preset.data)
    few = first_images(options.data, PHOTOGRAPHS, preset)
    judge = LoopJudge(whole, 2_000, judge_for(whole), preset.network.noise_dim, conditional=True)
    lines, cells = [], []
    for family in options.families:
        for loss in LOSSES:
            line, images = run(configuration(family, loss, options.images), few, judge)
            lines.append(line)
            cells.append(np.asarray(image_grid(images, CELL)))
            print(json.dumps(line), flush=True)
    summary = {
        "judge": judge.name,
        "floor": judge.real_baseline["fxd"],
        "ceiling": judge.noise_baseline["fxd"],
        "images_seen": options.images,
        "runs": lines,
    }
    options.out.with_suffix(".json").write_text(json.dumps(summary, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(table(lines))
    picture(cells).save(options.out.with_suffix(".png"))


def table(lines: list[dict[str, Any]]) -> str:
    """Returns the runs as a Markdown table."""
    head = [
        "| network | loss | distance before → after | coverage before → after | images/s of a core | export off by |"
    ]
    rows = [
        f"| `{line['family']}` | `{line['loss']}` | {line['fxd_before']:.1f} → {line['fxd_after']:.1f} | "
        f"{line['coverage_before']:.2f} → {line['coverage_after']:.2f} | "
        f"{line['images_per_cpu_second']:.0f} | {line['parity']} |"
        for line in lines
    ]
    return "\n".join([*head, "|---|---|---|---|---|---|", *rows]) + "\n"


def picture(cells: list[np.ndarray]) -> Image.Image:
    """Returns the samples of all cells: a row per network, a column per loss."""
    framed = [np.pad(cell, ((0, 6), (0, 6), (0, 0)), constant_values=255) for cell in cells]
    columns = len(LOSSES)
    rows = [np.concatenate(framed[first : first + columns], axis=1) for first in range(0, len(framed), columns)]
    return Image.fromarray(np.concatenate(rows))


if __name__ == "__main__":
    main()
