"""The short form of the attacks on ``tune``: each keeps its promise, and none passes without having struck."""

import os
from pathlib import Path

import pytest

from benchmarks.soak import tuning_faults
from benchmarks.soak.tuning_faults.database import programs


@pytest.mark.slow_proof
def test_nothing_is_lost(tmp_path: Path) -> None:
    if "NOTHING_SKIPPED" in os.environ:
        assert programs(), "PostgreSQL is not installed"
    outcomes = tuning_faults.run(smoke=True, work=tmp_path)
    assert all(outcome.kept for outcome in outcomes), "\n".join(outcome.happened for outcome in outcomes)
    assert len(outcomes) >= 1 + bool(programs())
