"""Short trainings of the presets on images of noise: content does not change what a step computes."""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.gpu.rows import SkippedError
from benchmarks.gpu.target import Target
from training.config.files import load_config
from training.runs.checkpoints import read_newest

LABELS = 10
_IMAGES_PER_LABEL = 26


def require_torch(target: Target) -> None:
    """Raises ``SkippedError`` if this PyTorch is not built for the target, ``RuntimeError`` if it finds no GPU."""
    if target.device == "cpu":
        return
    if torch.version.cuda is None:
        raise SkippedError(
            f"needs PyTorch with CUDA; this is torch {torch.__version__}: https://pytorch.org/get-started"
        )
    if not torch.cuda.is_available():
        raise RuntimeError(f"torch {torch.__version__} finds no GPU that it can use")


def settings_for(preset: str, precision: str, target: Target) -> list[str]:
    """Returns settings over a preset for a run of ``target.training_steps`` steps, with one checkpoint at half."""
    config = load_config(preset)
    images = target.training_steps * config.batch_size
    return [
        *target.settings,
        f"data.channels={max(3, config.data.channels)}",  # the images are in colour
        f"images={images}",
        f"precision={precision}",
        "judge=null",
        f"pace.tick={images // 4}",
        f"pace.samples={images}",
        f"pace.checkpoint={images // 2}",
    ]


@contextmanager
def workplace() -> Iterator[Path]:
    """Yields a folder for data and runs. The cache lies there, and the trainer prints nothing."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        before = os.environ.get("XDG_CACHE_HOME")
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["XDG_CACHE_HOME"]
            else:
                os.environ["XDG_CACHE_HOME"] = before


def write_noise(folder: Path) -> Path:
    """Writes PNG files of noise, 32 × 32 in colour with labels, and returns their folder."""
    rng = np.random.default_rng(0)
    for index in range(LABELS * _IMAGES_PER_LABEL):
        path = folder / "images" / str(index % LABELS) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    return folder / "images"


def newest_weights(run: Path) -> dict[str, torch.Tensor]:
    """Returns every tensor of a run's newest checkpoint, by its path in the file."""
    flat: dict[str, torch.Tensor] = {}

    def walk(prefix: str, value: object) -> None:
        if isinstance(value, torch.Tensor):
            flat[prefix] = value
        elif isinstance(value, dict):
            for key, nested in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), nested)

    walk("", read_newest(run / "checkpoints"))
    return flat


def relative_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Returns ‖a - b‖ / ‖a‖ over all floating-point tensors of two checkpoints; 0 if they are equal bit for bit.

    Raises ``ValueError`` if they hold other tensors, or a tensor of whole numbers differs.
    """
    if one.keys() != other.keys():
        raise ValueError(f"the checkpoints hold other tensors: {sorted(one.keys() ^ other.keys())[:3]}")
    if all(torch.equal(one[name], other[name]) for name in one):
        return 0.0
    floats = [name for name in one if one[name].is_floating_point()]
    counts = [name for name in one if name not in floats and not torch.equal(one[name], other[name])]
    if counts:
        raise ValueError(f"the checkpoints differ in {', '.join(counts[:3])}")
    apart = sum(float((one[name].double() - other[name].double()).square().sum()) for name in floats)
    return float((apart / sum(float(one[name].double().square().sum()) for name in floats)) ** 0.5)
