"""Draws ``docs/judge-monotone.png``: what the judge's distances say of real images that are made worse step by step.

python -m benchmarks.training.judge TRAIN.parquet TEST.parquet docs/judge-monotone.png
"""

import argparse
import io
from collections.abc import Callable
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
from training.evaluation.reference import Reference
from training.files import write_atomic

COUNT = 2_000
SLICED = 1_024
MEASURES = ("fxd", "kernel distance", "sliced Wasserstein")

PANEL = (250, 170)
INSET = (52, 26, 12, 26)
"""Left, top, right, bottom."""

Images = NDArray[np.uint8]


def blurred(data: TrainingImages, radius: float) -> Images:
    """Gaussian blur of a standard deviation of ``radius`` pixels."""
    images = data.images[chosen(np.arange(len(data)))]
    blur = ImageFilter.GaussianBlur(radius)
    return np.stack([np.asarray(Image.fromarray(image.squeeze(2)).filter(blur))[..., None] for image in images])


def noisy(data: TrainingImages, deviation: float) -> Images:
    """Gaussian noise of ``deviation``, in steps of 255."""
    images = data.images[chosen(np.arange(len(data)))]
    noise = np.random.RandomState(1).randn(*images.shape) * deviation
    return (images + noise).clip(0, 255).round().astype(np.uint8)


def dropped(data: TrainingImages, classes: float) -> Images:
    """As many images, but none of the last ``classes`` labels."""
    assert data.labels is not None
    return data.images[chosen(np.flatnonzero(data.labels < 10 - classes))]


def imbalanced(data: TrainingImages, share: float) -> Images:
    """As many images, ``share`` of which show the label 1."""
    assert data.labels is not None
    ones, others = (chosen(np.flatnonzero(mask)) for mask in (data.labels == 1, data.labels != 1))
    many = round(share * COUNT)
    images: Images = data.images[np.concatenate([ones[:many], others[: COUNT - many]])]
    return images


FAULTS: dict[str, tuple[Callable[[TrainingImages, float], Images], tuple[float, ...]]] = {
    "blur, pixels": (blurred, (0, 0.5, 1, 1.5, 2)),
    "noise, of 255": (noisy, (0, 16, 32, 64, 96)),
    "labels dropped": (dropped, (0, 2, 4, 6, 8)),
    "share of the label 1": (imbalanced, (0.1, 0.2, 0.3, 0.4, 0.5)),
}


def chosen(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most ``COUNT`` of the indices, the same every time."""
    return np.random.RandomState(0).permutation(indices)[:COUNT]


def measured(images: Images, reference: Reference) -> tuple[float, ...]:
    """The value of each of ``MEASURES``."""
    features = np.concatenate([reference.judge(images[first : first + 500])[0] for first in range(0, COUNT, 500)])
    moments = Moments(FEATURES)
    moments.add(features)
    kernel = kernel_distance(reference.real_features[:10_000], features, subsets=30).value
    sliced = sliced_wasserstein(reference.real_images(SLICED), images[chosen(np.arange(COUNT))], limit=SLICED).mean
    return frechet_distance(moments, reference.moments), kernel, sliced


def panel(levels: tuple[float, ...], values: list[float], fault: str, measure: str) -> Image.Image:
    """One curve from 0 to its largest value."""
    left, top, right, bottom = INSET
    width, height = PANEL
    canvas = Image.new("RGB", PANEL, "white")
    draw = ImageDraw.Draw(canvas)
    most = max(values)

    def place(level: float, value: float) -> tuple[float, float]:
        across = (level - levels[0]) / (levels[-1] - levels[0])
        return left + across * (width - left - right), height - bottom - max(value, 0) / most * (height - top - bottom)

    points = [place(level, value) for level, value in zip(levels, values, strict=True)]
    draw.line([(left, top), (left, height - bottom), (width - right, height - bottom)], fill="#888")
    draw.line(points, fill="#1f5fbf", width=2)
    for level, (x, y) in zip(levels, points, strict=True):
        draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill="#1f5fbf")
        draw.text((x, height - bottom + 4), f"{level:g}", fill="black", anchor="ma", font_size=11)
    draw.text((left - 5, points[-1][1]), f"{values[-1]:.3g}", fill="black", anchor="rm", font_size=11)
    draw.text((left - 5, points[0][1]), f"{values[0]:.2g}", fill="black", anchor="rm", font_size=11)
    draw.text((width / 2, 4), f"{measure}: {fault}", fill="black", anchor="ma", font_size=12)
    return canvas


def main() -> None:
    """Measures every fault at every level, prints the values and draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("train", "test", "out"):
        parser.add_argument(name)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = DataConfig(resolution=32, channels=1, fit="pad")
    data, test = load_images(arguments.train, config), load_images(arguments.test, config)
    reference = Reference(data, judge_for(data))
    whole = Image.new("RGB", (PANEL[0] * len(FAULTS), PANEL[1] * len(MEASURES)), "white")
    for column, (fault, (worsen, levels)) in enumerate(FAULTS.items()):
        curves = list(zip(*(measured(worsen(test, level), reference) for level in levels), strict=True))
        for row, (measure, values) in enumerate(zip(MEASURES, curves, strict=True)):
            print(f"{measure}, {fault}:", *(f"{value:.4g}" for value in values), flush=True)
            whole.paste(panel(levels, list(values), fault, measure), (column * PANEL[0], row * PANEL[1]))
    file = io.BytesIO()
    whole.save(file, "PNG")
    write_atomic(Path(arguments.out), file.getvalue())


if __name__ == "__main__":
    main()
