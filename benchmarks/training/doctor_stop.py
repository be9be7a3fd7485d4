r"""Measures what ``doctor: stop`` would have ended among the runs of ``doctor_runs.py``, and what it would have lost.

    python -m benchmarks.training.doctor_stop LOGS.csv …

Each run is shown to the doctor row by row, as ``fit`` does. A run that it gives up ends there: the cost is its best
score until then over its best score in the whole run (1 = nothing lost), the gain is the share of its rows left out.
"""

import argparse
import csv
import statistics
from dataclasses import dataclass, fields
from pathlib import Path

from training.doctor.case import Case
from training.doctor.signals import Signals

SIGNALS = tuple(field.name for field in fields(Signals) if field.name != "step")
"""Columns of a log, named as in ``Signals``; it need not have them all."""


@dataclass(frozen=True)
class Stop:
    """The end of a run that the doctor gives up."""

    run: str
    condition: str
    share: float
    """Rows until then, as a share of all."""
    best: float
    """The best score until then."""
    best_of_all: float


def stop_of(run: str, rows: list[dict[str, str]]) -> Stop | None:
    """Returns where the doctor gives a run up; None if it never does."""
    case = Case(rows[0]["adv_loss"], judged=True)
    for number, row in enumerate(rows, 1):
        values = {name: float(row[name]) for name in SIGNALS if row.get(name)}
        case.observe(Signals(int(row["step"]), **values))
        if finding := case.lost(int(row["step"])):
            best_of_all = min(float(row["score"]) for row in rows if row["score"])
            return Stop(run, finding.condition.name, number / len(rows), case.best, best_of_all)
    return None


def read(paths: list[Path]) -> dict[str, list[dict[str, str]]]:
    """Returns run → its rows."""
    runs: dict[str, list[dict[str, str]]] = {}
    for path in paths:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                runs.setdefault(row["run"], []).append(row)
    return runs


def main() -> None:
    """Prints a row for each run that is given up, and the sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="+", type=Path, help="CSV files of doctor_runs")
    runs = read(parser.parse_args().logs)
    stops = [stop for name, rows in runs.items() if (stop := stop_of(name, rows))]
    print("| run | given up for | after | best until then | best of the whole run |\n|---|---|---|---|---|")
    for stop in stops:
        print(f"| {stop.run} | `{stop.condition}` | {stop.share:.0%} | {stop.best:.3g} | {stop.best_of_all:.3g} |")
    costs = [stop.best / stop.best_of_all for stop in stops]
    print(
        f"\n{len(stops)} of {len(runs)} runs given up, {sum(1 - stop.share for stop in stops) / len(runs):.0%} of all "
        f"rows saved; cost: {statistics.median(costs):.2f} in the middle, {max(costs):.2f} at most; "
        f"{sum(cost == 1 for cost in costs)} cost nothing"
        if stops
        else f"none of {len(runs)} runs given up"
    )


if __name__ == "__main__":
    main()
