"""The benchmark of tuning runs, on a tiny budget."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.training import tuning
from training.data.dataset import TrainingImages


def test_tpe_gets_as_many_images_as_random_search_at_most(
    small_digits: TrainingImages,
    digits: Path,
    space_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    train: Callable[..., None],
) -> None:
    out = tmp_path / "out"
    options = ["--data", str(digits), "--out", str(out), "--trials", "3", "--images", "160", "--set", "loss=minimax"]
    monkeypatch.setattr(sys, "argv", ["tuning", str(space_file), *options])
    tuning.main()
    result = json.loads((out / "tuning.json").read_text())
    (repetition,) = result["repetitions"]
    assert repetition["random_images"] == 480
    assert repetition["random_best_images"] <= 480
    # A trial that started with images left spends its whole budget.
    assert repetition["tpe_images"] < 480 + 160
    if repetition["tpe_best"] <= repetition["random_best"]:
        assert repetition["tpe_images_to_it"] == repetition["tpe_images"]
    else:
        assert repetition["tpe_images_to_it"] is None
        assert repetition["tpe_images"] >= 480
    assert "loss: minimax" in (out / "00" / "random" / "trials" / "0002" / "config.yaml").read_text()


def test_an_unreached_goal_counts_as_worse_than_any_share() -> None:
    summary = tuning.summary([{"share": None}, {"share": 0.25}, {"share": 0.75}])
    assert (summary["median_share_of_random_images"], summary["within_half"], summary["of"]) == (0.75, 1, 3)
    assert tuning.summary([{"share": None}, {"share": None}])["median_share_of_random_images"] is None
