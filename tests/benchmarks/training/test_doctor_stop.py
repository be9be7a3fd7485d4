"""What ``doctor: stop`` would lose is measured on whole runs, at the row where ``fit`` would have ended."""

import csv
from pathlib import Path

import pytest

from benchmarks.training.doctor_stop import Stop, read, stop_of

SCORES = {"worsens": [9, 5, 8, 9, 9, 9, 9, 4, 3], "learns": [9, 8, 7, 6, 5, 4, 3, 3, 2]}
ROWS = 20
"""Rows from one score to the next."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ("run", "adv_loss", "step", "d_loss", "g_loss", "score", "noise_score"))
        writer.writeheader()
        for run, scores in SCORES.items():
            for number in range(ROWS * len(scores)):
                row = {"run": run, "adv_loss": "vanilla", "step": number, "d_loss": 1 + number % 7 / 50, "g_loss": 0.9}
                scored = (number + 1) % ROWS == 0
                writer.writerow({**row, "score": scores[number // ROWS], "noise_score": 100} if scored else row)
    return path


def test_a_run_ends_where_its_best_is_long_over_and_what_came_later_is_the_cost(log: Path) -> None:
    runs = read([log])
    # The second bad score in a row is the finding, and the fourth ends the run.
    assert stop_of("worsens", runs["worsens"]) == Stop("worsens", "late_degradation", 6 / 9, 5.0, 3.0)
    assert stop_of("learns", runs["learns"]) is None
