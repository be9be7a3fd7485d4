"""An interrupted run ends bit for bit where an uninterrupted one does; a run that cannot resume reports why."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.training.tiny_runs import FAMILIES, OBJECTIVES, TINY, arguments, assert_same_weights
from training.errors import TrainingError
from training.runs.checkpoints import checkpoints
from training.runs.folder import RunFolder


def copy_as_if_killed(run: Path, copy: Path, images: int) -> None:
    """Copies a run as a SIGKILL some time after its checkpoint at ``images`` would leave it."""
    shutil.copytree(run, copy)
    for path in checkpoints(copy / "checkpoints"):
        if int(path.stem) > images:
            path.unlink()


@pytest.mark.parametrize(
    ("family", "objective", "precision"),
    [
        ("dcgan", "non_saturating", "float32"),
        ("dcgan", "non_saturating", "bfloat16"),
        ("dcgan", "wasserstein", "float32"),
        ("stylegan2", "lazy", "float32"),
        ("stylegan2", "lazy", "bfloat16"),
        ("stylegan2", "styles", "float32"),
        ("stylegan2", "styles", "bfloat16"),
        ("r3gan", "relativistic", "float32"),
        ("r3gan", "scheduled", "bfloat16"),
        ("sngan", "hinge", "float32"),
        ("biggan", "hinge", "bfloat16"),
        ("mlp", "lazy", "float32"),
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, train: Callable[..., None], digits: Path, family: str, objective: str, precision: str
) -> None:
    settings = arguments(*TINY, *FAMILIES[family], *OBJECTIVES[objective], f"precision={precision}")
    train("fit", "digits", "--data", digits, "--out", tmp_path / "whole", *settings)
    copy_as_if_killed(tmp_path / "whole", tmp_path / "killed", 64)
    train("resume", tmp_path / "killed")
    assert_same_weights(tmp_path / "whole", tmp_path / "killed")
    for run in ("whole", "killed"):
        lines = [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        assert [line["images_seen"] for line in lines] == [32, 64, 96, 128], "every tick exactly once"


def test_a_longer_budget_takes_the_same_steps_first(tmp_path: Path, train: Callable[..., None], digits: Path) -> None:
    settings = arguments(*TINY, *FAMILIES["dcgan"])
    train("fit", "digits", "--data", digits, "--out", tmp_path / "whole", *settings)
    train("fit", "digits", "--data", digits, "--out", tmp_path / "halves", *settings, "--images", "64")
    train("resume", tmp_path / "halves", "--images", "128")
    assert_same_weights(tmp_path / "whole", tmp_path / "halves")
    assert RunFolder.open(tmp_path / "halves").config.images == 128


def test_sigkills_at_random_moments_change_nothing(tmp_path: Path, train: Callable[..., None], digits: Path) -> None:
    """FIGMENT_KILLS is the number of kills. Their moments are in start-up, training and the writing of checkpoints."""
    kills = int(os.environ.get("FIGMENT_KILLS", "3"))
    images = 16 * 60 * (kills + 1)
    settings = arguments(
        *TINY, *FAMILIES["mlp"], *OBJECTIVES["lazy"], f"images={images}", "pace.checkpoint=80", "pace.samples=100000"
    )
    train("fit", "digits", "--data", digits, "--out", tmp_path / "whole", *settings)

    run, chance = tmp_path / "killed", random.Random(0)
    command = [sys.executable, "-m", "training"]
    begin = [*command, "fit", "digits", "--data", digits, "--out", run, *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(kills):
        process = subprocess.Popen(
            [*command, "resume", run] if (run / "config.yaml").exists() else begin,
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        before = _newest(run)
        if chance.random() < 0.8:  # else it is killed while it starts
            while _newest(run) == before and process.poll() is None:
                time.sleep(0.01)
        time.sleep(chance.random() * 0.5)
        process.kill()
        process.wait()
    train("resume", run)
    assert_same_weights(tmp_path / "whole", run)


def _newest(run: Path) -> str:
    found = checkpoints(run / "checkpoints")
    return found[-1].name if found else ""


def test_a_changed_configuration_is_rejected_by_name(finished_run: Path, tmp_path: Path, train) -> None:  # type: ignore[no-untyped-def]
    shutil.copytree(finished_run, tmp_path / "run")
    path = tmp_path / "run" / "config.yaml"
    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**values, "loss": "hinge", "batch_size": 16}))
    with pytest.raises(TrainingError, match=r"batch_size was 32, is 16; loss was non_saturating, is hinge\. Put it"):
        train("resume", tmp_path / "run")


def test_other_images_are_rejected_at_resume(
    tmp_path: Path, train: Callable[..., None], digits: Path, small: list[str]
) -> None:
    data = tmp_path / "data.parquet"
    data.write_bytes(digits.read_bytes())
    train("fit", "digits", "--data", data, "--out", tmp_path / "run", *arguments(*small))
    import pyarrow.parquet as parquet

    parquet.write_table(parquet.read_table(digits).slice(1), data)
    with pytest.raises(TrainingError, match="are not those the run began with"):
        train("resume", tmp_path / "run")


def test_a_run_inside_its_own_data_resumes(tmp_path: Path, train: Callable[..., None], small: list[str]) -> None:
    """Its grids and plots are not training images."""
    for index in range(64):
        path = tmp_path / "photos" / ("light" if index % 2 else "dark") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), 100 * (index % 2) + index).save(path)
    run = tmp_path / "photos" / "run"
    train("fit", "digits", "--data", tmp_path / "photos", "--out", run, *arguments(*small, "images=64"))
    assert list(run.glob("samples/*.png"))
    train("resume", run, "--images", "128")
    assert RunFolder.open(run).data.images == 64
