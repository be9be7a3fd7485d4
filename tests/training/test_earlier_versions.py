"""What earlier versions wrote still works: a run, a study and a bundle of the time before ``data.json`` came first.

``tests/data/v0`` was written by version 0.1 and is never written anew.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from models.bundle import read_bundle
from models.noise import noise_for_seeds

V0 = Path(__file__).parents[1] / "data" / "v0"


@pytest.fixture
def run(tmp_path: Path, digits: Path) -> Path:
    """A copy of the run, which finds its images."""
    return with_images(Path(shutil.copytree(V0 / "run", tmp_path / "run")), digits)


def with_images(folder: Path, digits: Path) -> Path:
    """Points every run below a folder at the images' place on this machine."""
    for file in folder.rglob("data.json"):
        file.write_text(file.read_text().replace('"tests/data/digits.parquet"', json.dumps(str(digits))))
    return folder


def test_a_run_goes_on(run: Path, train: Callable[..., None]) -> None:
    train("resume", run, "--images", "320")
    seen = [json.loads(line)["images_seen"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert seen[0] == 64
    assert seen[-1] == 320
    assert (run / "checkpoints" / "000000000320.pt").is_file()
    assert "holdout: 0.0\n" in (run / "config.yaml").read_text(), "it trains on all images, as before"


def test_a_run_is_exported_and_judged(run: Path, tmp_path: Path, train: Callable[..., None]) -> None:
    train("export", run, "--to", tmp_path, "--name", "old")
    train("evaluate", run, "--judge", V0 / "study" / "judge.pt", "--samples", "500")
    old, new = (
        onnxruntime.InferenceSession(read_bundle(folder).onnx, providers=["CPUExecutionProvider"])
        for folder in (V0 / "zoo" / "old" / "1", tmp_path / "old" / "1")
    )
    feeds = {
        "noise": noise_for_seeds(range(10), 8),
        "label": np.arange(10),
        "truncation": np.ones(10, np.float32),
    }
    difference = old.run(None, feeds)[0].astype(int) - new.run(None, feeds)[0].astype(int)
    assert np.abs(difference).max() <= 1, "the same weights draw the same images"


def test_a_study_goes_on(
    tmp_path: Path, digits: Path, train: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    study = with_images(Path(shutil.copytree(V0 / "study", tmp_path / "renamed")), digits)
    before = {file: file.read_bytes() for file in study.glob("trials/*/*")}
    arguments = [study / "space.yaml", "--data", digits, "--out", study, "--images", "480", "--seeds", "1"]
    train("tune", *arguments, "--trials", "3")
    assert "trial 1 is the best" in capfd.readouterr().out
    train("tune", *arguments, "--trials", "4")
    assert (study / "trials" / "0003" / "scores.jsonl").is_file()
    assert "holdout: 0.0\n" in (study / "trials" / "0003" / "config.yaml").read_text(), "like the trials before it"
    assert {file: file.read_bytes() for file in before} == before, "finished trials stay as they are"
