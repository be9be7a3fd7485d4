"""Checks service and trainer on an NVIDIA GPU, in less than three minutes: ``make gpu-check``.

Each check runs in a process of its own until it ends, fails or crashes, so no check can spoil another one.
"""

from pathlib import Path

from benchmarks.gpu.acceptance import CHECKS, accept
from benchmarks.gpu.target import CPU, GPU


def run(smoke: bool, out: Path) -> None:
    """Runs every check and writes ``gpu.json``; with ``smoke``, small ones on the CPU. Exits with 1 if one fails."""
    if not accept(list(CHECKS), CPU if smoke else GPU, out / "gpu.json"):
        raise SystemExit(1)
