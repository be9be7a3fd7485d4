"""Compares two processes, each with a card of its own and connected by NCCL, with one process."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.gpu.rows import Row, SkippedError, judged
from benchmarks.gpu.target import Target
from benchmarks.gpu.trainings import require_torch, settings_for, workplace, write_noise
from training.config.files import load_config

TOLERANCE = 0.02
"""Largest relative difference of a loss. Sums in another order grow apart; a wrong average is another loss at once."""


def check(target: Target) -> Iterator[Row]:
    """Trains ``digits`` with one and with two processes, and compares the losses of the first half."""
    require_torch(target)
    if target.device == "cuda" and torch.cuda.device_count() < 2:
        raise SkippedError("one card; two processes need two")
    with workplace() as folder:
        source = write_noise(folder)
        one, two = (_losses(target, source, folder / f"run{count}", count) for count in (1, 2))
    largest = max(abs(two[name] - one[name]) / max(abs(one[name]), 1e-3) for name in one)
    backend = "NCCL" if target.device == "cuda" else "gloo"
    yield judged(
        "digits, two processes",
        largest <= TOLERANCE and all(map(math.isfinite, two.values())),
        f"over {backend}, losses differ by {largest:.1e} at most from those of one process",
        one=one,
        two=two,
    )


def _losses(target: Target, source: Path, run: Path, processes: int) -> dict[str, float]:
    """Returns the losses of the first half of a run with this number of processes."""
    half = target.training_steps // 2 * load_config("digits").batch_size
    # One tick for the half, so that R1, in every eighth step, is in it.
    settings = [f"--set={setting}" for setting in (*settings_for("digits", "float32", target), f"pace.tick={half}")]
    command = [sys.executable, "-m", "training.launch", "--nproc-per-node", str(processes), "--standalone", "fit"]
    done = subprocess.run(
        [*command, "digits", "--data", source, "--out", run, *settings],
        capture_output=True,
        text=True,
        timeout=target.check_seconds / 2,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{processes} processes: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    return {name: value for name, value in line.items() if name.endswith("_loss")}
