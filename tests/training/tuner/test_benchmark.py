"""The script that measures the tuner, on a budget on which it measures nothing."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.training import tuning
from training.data import TrainingImages


def test_tpe_gets_as_many_images_as_random_search(
    small_digits: TrainingImages,
    digits: Path,
    space_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    train: Callable[..., None],
) -> None:
    options = [
        "--data",
        str(digits),
        "--out",
        str(tmp_path / "out"),
        "--trials",
        "3",
        "--images",
        "160",
        "--seeds",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", ["tuning", str(space_file), *map(str, options)])
    tuning.main()
    result = json.loads((tmp_path / "out" / "tuning.json").read_text())
    assert result["random"]["images"] == 480
    assert result["tpe"]["images"] >= 480
    assert result["winner_of_preset"] <= 1
    assert len(result["winner"]["objectives"]) == 1
    assert result["judge"].startswith("fxd-digits-")
