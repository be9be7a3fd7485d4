"""Long fault and load tests: ``make soak``, or ``python -m benchmarks.soak --only NAMES``. Takes hours in all.

A program is a module with ``run(smoke, work)``: it returns outcomes, and may write to the empty folder ``work``. With
``smoke`` it tries every fault a few times, in seconds, and is part of ``make test``.
"""

from pathlib import Path

from benchmarks.soak.programs import PROGRAMS, run_programs


def run(smoke: bool, out: Path) -> None:
    """Runs all programs. Raises SystemExit with 1 if a promise was broken."""
    if not run_programs(list(PROGRAMS), smoke, out / "soak.json"):
        raise SystemExit(1)
