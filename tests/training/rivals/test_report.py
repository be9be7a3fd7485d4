"""The table shows every result, and the preset's share of the best other one where that means something."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.training.rivals.entries import entries
from benchmarks.training.rivals.report import Report, preset_ratio
from benchmarks.training.rivals.results import Cell, Results

NAMES = ("tutorial", "fastgan", "stylegan2-ada", "preset")


def line(scores: dict[str, float] | None, **changes: Any) -> dict[str, Any]:
    outcome = {"outcome": "the losses are NaN"} if scores is None else {"outcome": "trained", "scores": scores}
    return {
        "seconds": 181.2,
        "images": 5000,
        "images_per_second": 27.6,
        "samples": 1000,
        "floor": {"fxd": 0.5},
        "judge": "fxd-mnist-1",
        "settings": {},
        **outcome,
        **changes,
    }


def write(folder: Path, scores: dict[str, dict[str, float] | None]) -> Results:
    results = Results(folder)
    for name, values in scores.items():
        cell = Cell("mnist", name, 3, "cpu")
        results.samples(cell).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((128, 128), 255 if name == "preset" else 40, np.uint8)).save(results.samples(cell))
        results.add(cell, line(values))
    return results


def report(results: Results, folder: Path) -> str:
    return Report(results, list(entries().values()), "cpu").write(folder)[0].read_text()


def test_the_share_is_of_the_best_other(tmp_path: Path) -> None:
    results = write(
        tmp_path,
        {
            "tutorial": {"fxd": 40.0, "kd-lite0": 0.02},
            "fastgan": {"fxd": 90.0, "kd-lite0": 0.01},
            "stylegan2-ada": None,
            "preset": {"fxd": 10.0, "kd-lite0": 0.001},
        },
    )
    table = report(results, tmp_path)
    assert "| 3 min | fxd | 40 | 90 | diverged | 10 | **0.25** | 0.5 |" in table
    assert "| 3 min | kd-lite0 × 1000 | 20 | 10 | diverged | 1 | **0.10** | – |" in table
    assert "| preset | 5000 (27.6, 3.02) |" in table
    assert "1000 generated images against as many real ones; fxd-mnist-1" in table
    assert "Several machines" not in table


def test_missing_results_are_dashes(tmp_path: Path) -> None:
    table = report(write(tmp_path, {"preset": {"fxd": 10.0}}), tmp_path)
    assert "| 3 min | fxd | – | – | – | 10 | – | 0.5 |" in table
    assert "| FastGAN-like | – |" in table


def test_results_of_several_machines_or_judges_are_told(tmp_path: Path) -> None:
    """A line that came without its picture does not end the report either."""
    results = write(tmp_path, {"preset": {"fxd": 10.0}})
    results.add(Cell("mnist", "tutorial", 3, "cpu"), line({"fxd": 5.0}, machine="another", judge="fxd-mnist-2"))
    table = report(results, tmp_path)
    assert "Several machines" in table
    assert "Several judges" in table


def test_the_clocks_are_not_mixed(tmp_path: Path) -> None:
    results = write(tmp_path, {"preset": {"fxd": 10.0}})
    results.add(Cell("mnist", "tutorial", 3, "wall"), line({"fxd": 5.0}))
    assert "| 3 min | fxd | – | – | – | 10 |" in report(results, tmp_path)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"tutorial": 4.0, "fastgan": 2.0, "preset": 1.0}, 0.5),
        ({"tutorial": 4.0, "fastgan": None, "preset": 1.0}, 0.25),
        ({"tutorial": -0.001, "preset": 1.0}, None),
        ({"tutorial": None, "preset": 1.0}, None),
        ({"tutorial": 4.0, "preset": None}, None),
    ],
)
def test_shares(values: dict[str, float | None], expected: float | None) -> None:
    assert preset_ratio(values) == expected


def test_the_picture_has_a_row_per_contender(tmp_path: Path) -> None:
    report(write(tmp_path, {name: {"fxd": 1.0} for name in NAMES}), tmp_path)
    with Image.open(tmp_path / "mnist.png") as picture:
        rows = [picture.getpixel((280, 150 + 262 * row)) for row in range(4)]
    assert rows == [(40, 40, 40)] * 3 + [(255, 255, 255)]


def test_the_picture_leaves_out_whoever_was_not_run(tmp_path: Path) -> None:
    report(write(tmp_path, {"tutorial": {"fxd": 1.0}, "preset": {"fxd": 1.0}}), tmp_path)
    with Image.open(tmp_path / "mnist.png") as picture:
        assert picture.height == 24 + 2 * 262
