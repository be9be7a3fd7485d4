"""Benchmarks of training: ``fit`` against a bare loop, the presets against rivals, and the documentation's tables."""

from pathlib import Path

from benchmarks.training import loop
from benchmarks.training.rivals.smoke import smoke as check_rivals


def run(smoke: bool, out: Path) -> None:
    """Compares ``fit`` with a bare loop. With ``smoke``, also checks the comparison with rivals, which takes hours."""
    loop.run(smoke, out)
    if smoke:
        check_rivals()
