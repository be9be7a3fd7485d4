"""Compares images per second of ``fit``, with its reports, samples and checkpoints, with a bare loop of the same steps.

Both train the same networks with the same loss on the same machine, in turns: after every tick of ``fit``, the bare
loop trains as many images. The bare loop has its batches in memory, and nothing else: no data set, no seeds, no
metrics, no means of them, no checkpoints.
"""

import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image
from torch import Tensor

from training.config.files import load_config
from training.config.schema import Config
from training.data.dataset import TrainingImages, load_images
from training.data.pixels import to_range
from training.device import best_device
from training.loop.ema import ema_decay, update_ema
from training.loop.fit import fit
from training.loop.precision import choose_precision
from training.loop.state import TrainingState
from training.objective.losses import LOSSES
from training.parallel.distributed import Processes
from training.runs.folder import RunFolder
from training.runs.reporter import Reporter

CONFIGURATION = Path(__file__).with_name("dcgan.yaml")
IMAGES = 40_000
SMOKE_IMAGES = 4_096
WARMUP_IMAGES = 10_000
"""Images after which memory must not grow."""


class BareLoop:
    """The step of ``dcgan.yaml``, written out."""

    def __init__(self, config: Config, data: TrainingImages, device: torch.device) -> None:
        self._config, self._state = config, TrainingState(config, len(data.label_names or ()), device)
        assert data.labels is not None
        pixels = torch.from_numpy(data.images[:]).permute(0, 3, 1, 2).to(device)
        reals, labels = to_range(pixels), torch.from_numpy(data.labels).to(device)
        self._batches = itertools.cycle(
            zip(torch.split(reals, config.batch_size), torch.split(labels, config.batch_size), strict=True)
        )

    def train(self, images: int) -> None:
        """Takes the steps of ``images`` images."""
        for _ in range(images // self._config.batch_size):
            self._step()

    def _step(self) -> None:
        config, state, loss = self._config, self._state, LOSSES[self._config.loss]
        reals, label = next(self._batches)
        autocast = torch.autocast(reals.device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
        with autocast:
            with torch.no_grad():
                fakes = state.generator(self._noise(reals), label)
            real, fake = state.discriminator(reals, label).float(), state.discriminator(fakes, label).float()
        state.discriminator_optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss.discriminator(real, fake, 0.0))
        state.discriminator_optimizer.step()
        state.discriminator.requires_grad_(False)
        with autocast:
            fake = state.discriminator(state.generator(self._noise(reals), label), label).float()
        state.generator_optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss.generator(fake, fake))
        state.generator_optimizer.step()
        state.discriminator.requires_grad_(True)
        state.images_seen += config.batch_size
        for half_life, ema in state.emas.items():
            decay = ema_decay(half_life, config.ema.ramp, state.images_seen, config.batch_size)
            update_ema(ema, state.generator, decay)

    def _noise(self, reals: Tensor) -> Tensor:
        return torch.randn(len(reals), self._config.network.noise_dim, device=reals.device)


class AlternatingReporter(Reporter):
    """A run's reporter that trains the bare loop after every tick, and records the seconds of both."""

    def __init__(self, run: RunFolder, data: TrainingImages, state: TrainingState, bare: BareLoop) -> None:
        super().__init__(run, data, state, open_judge=None)
        self._bare, self._device, self._images = bare, state.device, 0
        self.fit_seconds: list[float] = []
        self.bare_seconds: list[float] = []
        self.waits: list[float] = []
        self.memory: list[tuple[int, int]] = []

    def __enter__(self) -> "AlternatingReporter":
        super().__enter__()
        self._start = self._now()
        return self

    def step(self, before: int, images_seen: int) -> None:
        """Trains the bare loop once ``fit`` has paid for its tick, checkpoint or samples."""
        super().step(before, images_seen)
        tick = self._run.config.pace.tick
        if before // tick != images_seen // tick:
            self.fit_seconds.append(self._now() - self._start)
            self.memory.append((images_seen, psutil.Process().memory_info().rss))
            start = self._now()
            self._bare.train(images_seen - self._images)
            self.bare_seconds.append(self._now() - start)
            self._images = images_seen
            self._start = self._now()

    def tick(self, images_seen: int, means: dict[str, float]) -> None:
        """Records the share of time ``fit`` waited for data; it includes the bare loop's turn."""
        super().tick(images_seen, means)
        if means:
            self.waits.append(means["data_wait_share"])

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def run(smoke: bool, out: Path) -> None:
    """Prints and writes the ratio of speeds, the share of time spent waiting for data, and the growth of memory."""
    device = best_device()
    images = SMOKE_IMAGES if smoke else IMAGES
    settings = [f"images={images}", "judge=null"]
    settings += ["pace.tick=1024"] if smoke else []
    config = load_config(str(CONFIGURATION), settings)
    config = config.model_copy(update={"precision": choose_precision(config, device).precision})
    with tempfile.TemporaryDirectory() as folder:
        data = _random_images(Path(folder), config)
        labels = len(data.label_names or ())
        state = TrainingState(config, labels, device)
        folder_of_run = RunFolder.create(Path(folder) / "run", config, str(Path(folder) / "images"), data)
        reporter = AlternatingReporter(folder_of_run, data, state, BareLoop(config, data, device))
        fit(config, data, state, Processes(0, 1, device), reporter)
    fit_seconds, bare_seconds = reporter.fit_seconds[1:], reporter.bare_seconds[1:]  # the first turn warms up
    turn = config.pace.tick
    after_warmup = [memory for seen, memory in reporter.memory if seen >= min(WARMUP_IMAGES, images // 2)]
    result = {
        "device": str(device),
        "precision": config.precision,
        "threads": torch.get_num_threads(),
        "images": images,
        "fit_images_per_second": turn / statistics.median(fit_seconds),
        "bare_images_per_second": turn / statistics.median(bare_seconds),
        "ratio_of_medians": statistics.median(bare_seconds) / statistics.median(fit_seconds),
        "ratio_of_totals": sum(bare_seconds) / sum(fit_seconds),
        "data_wait_share": max(reporter.waits),
        "memory_growth_mib": (after_warmup[-1] - after_warmup[0]) / 2**20,
    }
    (out / "training.json").write_text(json.dumps(result, indent=2) + "\n")
    print("training: fit and a bare loop of the same steps, in turns")
    for name, value in result.items():
        print(f"  {name:24} {value:.4g}" if isinstance(value, float) else f"  {name:24} {value}")


def _random_images(folder: Path, config: Config) -> TrainingImages:
    """Returns images of noise; content does not change the cost of a step."""
    rng = np.random.default_rng(0)
    for index in range(512):
        path = folder / "images" / str(index % 10) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (28, 28), dtype=np.uint8)).save(path)
    return load_images(str(folder / "images"), config.data)
