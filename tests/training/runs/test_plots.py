"""The curves of a run, drawn from what it has logged."""

import gc
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from training.runs.folder import RunFolder

SCORE = {"judge": "fxd-scripted-00000000", "half_life": 20000, "coverage": 0.5}


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> RunFolder:
    """A finished run without a judge."""
    return RunFolder.open(Path(shutil.copytree(finished_run, tmp_path / "run")))


def drawn(run: RunFolder) -> np.ndarray:
    return np.asarray(Image.open(run.path / "curves.png").convert("L"))


def test_scores_are_in_the_last_panel(run: RunFolder, real_plot_run: Callable[[RunFolder], None]) -> None:
    real_plot_run(run)
    without = drawn(run)
    half_life = run.config.ema.half_lives[0]
    lines = [{**SCORE, "half_life": half_life, "images_seen": seen, "fxd": 1000 / seen} for seen in (128, 256, 512)]
    run.scores.write_text("".join(json.dumps(line) + "\n" for line in lines))
    real_plot_run(run)
    differs = drawn(run) != without
    height, width = without.shape
    assert (height, width) == (630, 990)
    assert differs[height // 2 :, width // 2 :].any()
    assert not differs[: height // 2, : width // 2].any(), "the losses are the same"
    for panel in (without[: height // 2, : width // 2], without[height // 2 :, : width // 2]):
        assert (panel < 128).sum() > 1000, "curves, axes and labels"
    assert (without[:, :3] == 255).all(), "no label reaches over the edge"


def test_a_run_without_metrics_has_no_curves(run: RunFolder, real_plot_run: Callable[[RunFolder], None]) -> None:
    (run.path / "metrics.jsonl").unlink()
    (run.path / "curves.png").unlink()
    real_plot_run(run)
    assert not (run.path / "curves.png").exists()


def test_drawing_keeps_no_earlier_figure(run: RunFolder, real_plot_run: Callable[[RunFolder], None]) -> None:
    """Kept figures made the memory of long runs grow with each grid."""
    gc.disable()
    try:
        for _ in range(3):
            real_plot_run(run)
        # Matplotlib itself keeps the last one.
        assert sum(type(each) is Figure for each in gc.get_objects()) <= 1
    finally:
        gc.enable()
