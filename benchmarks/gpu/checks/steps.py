"""Whether losses and weights stay finite in float32 and bfloat16, and how fast the trainer is."""

import statistics
import time
from collections.abc import Iterator

import torch

from benchmarks.gpu.rows import Row
from benchmarks.gpu.target import Target
from benchmarks.gpu.trainings import LABELS, require_torch, settings_for, workplace, write_noise
from training.config.files import load_config
from training.config.schema import Config
from training.data.dataset import TrainingImages, load_images
from training.loop.callbacks import Callback
from training.loop.fit import fit
from training.loop.state import TrainingState
from training.parallel.distributed import Processes


class _Ticks(Callback):
    """Notes each tick's time and losses. ``fit`` reads the means from the device, so each tick waits for it."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.losses: dict[str, float] = {}

    def tick(self, images_seen: int, means: dict[str, float]) -> None:
        if means:
            self.times.append(time.perf_counter())
            # Of the last tick that had each: a lazy penalty is not in every one.
            self.losses |= {name: value for name, value in means.items() if name.endswith("_loss")}


def check(target: Target) -> Iterator[Row]:
    """Trains each preset in both precisions. ``fit`` raises ``DivergenceError`` for a loss that is NaN or infinite."""
    require_torch(target)
    with workplace() as folder:
        source = str(write_noise(folder))
        for preset in target.presets:
            for precision in ("float32", "bfloat16"):
                config = load_config(preset, settings_for(preset, precision, target))
                yield _train(config, load_images(source, config.data), torch.device(target.device), precision)


def _train(config: Config, data: TrainingImages, device: torch.device, precision: str) -> Row:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    state, ticks = TrainingState(config, LABELS if config.conditional else 0, device), _Ticks()
    fit(config, data, state, Processes(0, 1, device), ticks)
    state.check_finite()
    intervals = [after - before for before, after in zip(ticks.times, ticks.times[1:], strict=False)]
    # Not the mean: the first penalty warms up. The median leaves out faces64's R1, which is in one tick of four.
    speed = config.pace.tick / statistics.median(intervals)
    memory = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else None
    seen = ", ".join(f"{name.removesuffix('_loss')} {value:.3g}" for name, value in ticks.losses.items())
    return Row(
        f"{config.name}, {precision}",
        f"{speed:,.0f} images/s, batch {config.batch_size}"
        + (f", {memory:,.0f} MiB" if memory else "")
        + f"; losses finite: {seen}",
        values={"images_per_second": speed, "memory_mib": memory, "losses": ticks.losses},
    )
