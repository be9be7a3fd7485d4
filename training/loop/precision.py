"""Decides between float32 and bfloat16 by training a few steps in each: no flag of a processor tells which is faster.

A core may have the instructions and still be slower: one with AVX512_BF16 and without AMX trained the preset ``digits``
at 220 images a second in float32 and at 146 in bfloat16.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from training.config.schema import Config
from training.loop.batch import Batch
from training.loop.state import TrainingState
from training.loop.step import TrainStep
from training.parallel.distributed import Processes
from training.parallel.rng import BatchRng

Precision = Literal["float32", "bfloat16"]
Clock = Callable[[], float]

MARGIN = 1.1
"""How many times as fast bfloat16 must be: it has three digits only, and the measurement errs by a few percent."""
STEP_SECONDS = 0.15
"""Longest step to measure: the batch is halved until float32 keeps it, down to ``SMALLEST_BATCH``."""
SMALLEST_BATCH = 8
"""Few images favour float32: for 4 of ``digits`` bfloat16 is 1.30 times as fast, for 16 it is 1.43 and for 64 1.64."""
ROUNDS = 5
BUDGET_SECONDS = 1.0
"""After so long no further round begins. If one step takes longer, one of each decides."""
_STAND_IN_LABELS = 10
"""For the labels of the data, which may not be decoded yet. Their number hardly changes the time of a step."""


@dataclass(frozen=True)
class PrecisionChoice:
    """The chosen precision, and what was measured."""

    precision: Precision
    images_per_second: dict[Precision, float]
    """Medians."""
    batch_size: int
    """Images in each measured step."""

    def __str__(self) -> str:
        speeds = self.images_per_second
        measured = f"float32 trains {speeds['float32']:.3g} images/s, bfloat16 {speeds['bfloat16']:.3g}"
        return f"precision: {self.precision} ({measured}, in steps of {self.batch_size} images)"


def choose_precision(config: Config, device: torch.device, clock: Clock | None = None) -> PrecisionChoice:
    """Measures a few training steps of this configuration in both precisions, and returns the faster one.

    bfloat16 must be ``MARGIN`` times as fast. Takes about ``BUDGET_SECONDS``, and leaves the global random state as it
    was. Raises ``TrainingError`` if the family cannot generate images of that size.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        measurement = _Measurement(config, device, clock or _clock_of(device))
        seconds = measurement.run()
    speeds: dict[Precision, float] = {name: measurement.batch_size / seconds[name] for name in seconds}
    faster = speeds["bfloat16"] >= MARGIN * speeds["float32"]
    return PrecisionChoice("bfloat16" if faster else "float32", speeds, measurement.batch_size)


class _Measurement:
    """Trains networks that are thrown away afterwards."""

    def __init__(self, config: Config, device: torch.device, clock: Clock) -> None:
        # compile would take minutes for either precision; a part of a batch is all that may fit into memory.
        batch_size = config.micro_batch or config.batch_size
        self._config = config.model_copy(
            update={"compile": False, "discriminator_steps": 1, "batch_size": batch_size, "micro_batch": None}
        )
        self._device, self._clock = device, clock
        self._labels = _STAND_IN_LABELS if config.conditional else 0
        self._state = TrainingState(self._config, self._labels, device)
        self.batch_size = batch_size

    def run(self) -> dict[Precision, float]:
        """Returns the median seconds of a step in each precision."""
        sizes = _halved(self._config.batch_size)
        self.batch_size = sizes[0]
        self._step("float32")  # the first step of a kind also chooses its kernels
        seconds = self._step("float32")
        fitting = [size for size in sizes if seconds * size / sizes[0] <= STEP_SECONDS]
        if fitting and fitting[-1] > sizes[0]:
            self.batch_size = fitting[-1]
            self._step("float32")
        warm_up = self._step("bfloat16")
        if warm_up > BUDGET_SECONDS:  # as where it is emulated
            return {"float32": self._step("float32"), "bfloat16": warm_up}
        started = self._clock()
        measured: dict[Precision, list[float]] = {"float32": [], "bfloat16": []}
        for _ in range(ROUNDS):
            for precision, values in measured.items():
                values.append(self._step(precision))
            if self._clock() - started > BUDGET_SECONDS:
                break
        return {precision: statistics.median(values) for precision, values in measured.items()}

    def _step(self, precision: Precision) -> float:
        """Trains one step, and returns its seconds."""
        config = self._config.model_copy(update={"precision": precision, "batch_size": self.batch_size})
        step = TrainStep(config, self._state, Processes(0, 1, self._device))
        shape = (self.batch_size, config.data.channels, config.data.resolution, config.data.resolution)
        reals = torch.rand(shape, device=self._device).mul_(2).sub_(1).to(memory_format=torch.channels_last)
        label = torch.randint(self._labels, (self.batch_size,), device=self._device) if self._labels else None
        batch = Batch(reals, label, BatchRng(0, self._device), budget_used=0.0)
        self._state.images_seen = 0  # so no lazy penalty is due: it computes in float32 in any case
        began = self._clock()
        step.step(batch)
        return self._clock() - began


def _clock_of(device: torch.device) -> Clock:
    """Returns a clock in seconds that other programs on the same processor do not disturb."""
    if device.type == "cuda":

        def now() -> float:
            torch.cuda.synchronize(device)
            return time.perf_counter()

        return now
    # PyTorch's threads wait actively for each other, so their processor time is that of the step times their number.
    return lambda: time.process_time() / torch.get_num_threads()


def _halved(batch_size: int) -> list[int]:
    """Returns the batch sizes that halving reaches, from the smallest one on."""
    sizes = [batch_size]
    while sizes[-1] % 2 == 0 and sizes[-1] // 2 >= SMALLEST_BATCH:
        sizes.append(sizes[-1] // 2)
    return sizes[::-1]
