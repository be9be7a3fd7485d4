"""Logs to diagnose."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Rows = list[tuple[int, float, float]]


@pytest.fixture
def healthy() -> Rows:
    """Returns 200 rows of step, discriminator's loss and generator's loss of a run that goes well."""
    random = np.random.RandomState(0)
    return [(100 * (row + 1), 1 + 0.1 * float(random.randn()), 1 + 0.2 * float(random.randn())) for row in range(200)]


@pytest.fixture
def sick(healthy: Rows) -> Rows:
    """Returns the same rows with a discriminator that wins from row 120 on, step 12 100."""
    return [(step, *((0.05 * d, g + 4) if step > 12_000 else (d, g))) for step, d, g in healthy]


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that writes runs into a CSV: name → (loss, rows), a row of each run in turn."""

    def write(runs: dict[str, tuple[str, Rows]], end: str = "") -> Path:
        lines = ["run,adv_loss,batch_size,step,d_loss,g_loss,fid"]
        for turn in range(max(len(rows) for _, rows in runs.values())):
            lines += [
                f"{name},{loss},64,{step},{d},{g},"
                for name, (loss, rows) in runs.items()
                for step, d, g in rows[turn : turn + 1]
            ]
        path = tmp_path / "log.csv"
        path.write_text("\n".join(lines) + "\n" + end)
        return path

    return write
