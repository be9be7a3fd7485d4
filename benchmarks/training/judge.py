"""Draws a judge's distances for real images that are degraded step by step.

python -m benchmarks.training.judge TRAIN.parquet TEST.parquet docs/judge-monotone.png
python -m benchmarks.training.judge TRAIN.parquet TEST.parquet docs/judge-lite0-monotone.png --judge lite0
"""

import argparse
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.config.schema import DataConfig
from training.data.dataset import TrainingImages, load_images
from training.evaluation.judge.network import FEATURES
from training.evaluation.judge.train import judge_for
from training.evaluation.metrics.frechet import frechet_distance
from training.evaluation.metrics.kernel import kernel_distance
from training.evaluation.metrics.moments import Moments
from training.evaluation.metrics.sliced_wasserstein import sliced_wasserstein
from training.evaluation.metrics.table import NEIGHBOURS, SLICED
from training.evaluation.reference import Reference
from training.evaluation.shared.judge import SharedJudge
from training.evaluation.shared.scores import FRECHET, KERNEL, compare
from training.files import write_atomic

COUNT = 2_000
METRIC_NAMES = {"own": ("fxd", "kernel distance", "sliced Wasserstein"), "lite0": (FRECHET, KERNEL)}
"""Judge → the metrics that are drawn."""

PANEL = (250, 170)
INSET = (52, 26, 12, 26)
"""Left, top, right, bottom."""

Images = NDArray[np.uint8]


def blurred(data: TrainingImages, radius: float) -> Images:
    """Blurs images with a Gaussian of ``radius`` pixels standard deviation."""
    images = data.images[sample_indices(np.arange(len(data)))]
    blur = ImageFilter.GaussianBlur(radius)
    return np.stack([np.asarray(Image.fromarray(image.squeeze(2)).filter(blur))[..., None] for image in images])


def noisy(data: TrainingImages, deviation: float) -> Images:
    """Adds Gaussian noise with a standard deviation of ``deviation`` of 255 levels."""
    images = data.images[sample_indices(np.arange(len(data)))]
    noise = np.random.RandomState(1).randn(*images.shape) * deviation
    return (images + noise).clip(0, 255).round().astype(np.uint8)


def dropped(data: TrainingImages, classes: float) -> Images:
    """Returns equally many images without the last ``classes`` labels."""
    assert data.labels is not None
    return data.images[sample_indices(np.flatnonzero(data.labels < 10 - classes))]


def imbalanced(data: TrainingImages, share: float) -> Images:
    """Returns equally many images, a ``share`` of them with the label 1."""
    assert data.labels is not None
    ones, others = (sample_indices(np.flatnonzero(mask)) for mask in (data.labels == 1, data.labels != 1))
    many = round(share * COUNT)
    images: Images = data.images[np.concatenate([ones[:many], others[: COUNT - many]])]
    return images


DEGRADATIONS: dict[str, tuple[Callable[[TrainingImages, float], Images], tuple[float, ...]]] = {
    "blur, pixels": (blurred, (0, 0.5, 1, 1.5, 2)),
    "noise, of 255": (noisy, (0, 16, 32, 64, 96)),
    "labels dropped": (dropped, (0, 2, 4, 6, 8)),
    "share of the label 1": (imbalanced, (0.1, 0.2, 0.3, 0.4, 0.5)),
}


def sample_indices(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns at most ``COUNT`` of the indices, always the same."""
    return np.random.RandomState(0).permutation(indices)[:COUNT]


def distances_by(judge: str, data: TrainingImages) -> Callable[[Images], tuple[float, ...]]:
    """Returns a function from ``COUNT`` images to the values of the judge's ``METRIC_NAMES`` against real images."""
    if judge == "own":
        return partial(own_distances, reference=Reference(data, judge_for(data)))
    shared = SharedJudge()
    real = shared(data.images[sample_indices(np.arange(len(data)))])

    def distances(images: Images) -> tuple[float, ...]:
        scores = compare(real, shared(images))
        return tuple(scores[metric] for metric in METRIC_NAMES[judge])

    return distances


def own_distances(images: Images, reference: Reference) -> tuple[float, ...]:
    """Returns the value of each metric of the data set's own judge."""
    features = np.concatenate([reference.judge(images[first : first + 500])[0] for first in range(0, COUNT, 500)])
    moments = Moments(FEATURES)
    moments.add(features)
    kernel = kernel_distance(reference.real_features[:NEIGHBOURS], features, subsets=30).value
    sliced = sliced_wasserstein(
        reference.real_images(SLICED), images[sample_indices(np.arange(COUNT))], limit=SLICED
    ).mean
    return frechet_distance(moments, reference.moments), kernel, sliced


def panel(levels: tuple[float, ...], values: list[float], name: str, metric: str) -> Image.Image:
    """Draws one curve, scaled from 0 to its largest value."""
    left, top, right, bottom = INSET
    width, height = PANEL
    canvas = Image.new("RGB", PANEL, "white")
    draw = ImageDraw.Draw(canvas)
    largest = max(values)

    def position(level: float, value: float) -> tuple[float, float]:
        across = (level - levels[0]) / (levels[-1] - levels[0])
        return left + across * (width - left - right), height - bottom - max(value, 0) / largest * (
            height - top - bottom
        )

    points = [position(level, value) for level, value in zip(levels, values, strict=True)]
    draw.line([(left, top), (left, height - bottom), (width - right, height - bottom)], fill="#888")
    draw.line(points, fill="#1f5fbf", width=2)
    for level, (x, y) in zip(levels, points, strict=True):
        draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill="#1f5fbf")
        draw.text((x, height - bottom + 4), f"{level:g}", fill="black", anchor="ma", font_size=11)
    draw.text((left - 5, points[-1][1]), f"{values[-1]:.3g}", fill="black", anchor="rm", font_size=11)
    draw.text((left - 5, points[0][1]), f"{values[0]:.2g}", fill="black", anchor="rm", font_size=11)
    draw.text((width / 2, 4), f"{metric}: {name}", fill="black", anchor="ma", font_size=12)
    return canvas


def main() -> None:
    """Computes every distance at every level of every degradation, prints them and draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("train", "test", "out"):
        parser.add_argument(name)
    parser.add_argument("--judge", choices=tuple(METRIC_NAMES), default="own", help="the data set's own, or the shared")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = DataConfig(resolution=32, channels=1, fit="pad")
    data, test = load_images(arguments.train, config), load_images(arguments.test, config)
    names, distances = METRIC_NAMES[arguments.judge], distances_by(arguments.judge, data)
    whole = Image.new("RGB", (PANEL[0] * len(DEGRADATIONS), PANEL[1] * len(names)), "white")
    for column, (name, (degrade, levels)) in enumerate(DEGRADATIONS.items()):
        curves = list(zip(*(distances(degrade(test, level)) for level in levels), strict=True))
        for row, (metric, values) in enumerate(zip(names, curves, strict=True)):
            print(f"{metric}, {name}:", *(f"{value:.4g}" for value in values), flush=True)
            whole.paste(panel(levels, list(values), name, metric), (column * PANEL[0], row * PANEL[1]))
    file = io.BytesIO()
    whole.save(file, "PNG")
    write_atomic(Path(arguments.out), file.getvalue())


if __name__ == "__main__":
    main()
