"""Checkpoint files survive corruption and full disks, and belong to one configuration."""

import resource
from pathlib import Path

import pytest
import torch

from training.config.files import load_config
from training.errors import TrainingError
from training.loop.state import TrainingState
from training.runs.checkpoints import check_same_run, checkpoints, read_newest, save_checkpoint
from training.runs.folder import RunFolder

CPU = torch.device("cpu")


def test_a_corrupt_checkpoint_is_skipped(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder.open(finished_run)
    newest = checkpoints(run.checkpoints)[-1]
    whole = newest.read_bytes()
    try:
        newest.write_bytes(whole[: len(whole) // 2])
        content = read_newest(run.checkpoints)
    finally:
        newest.write_bytes(whole)
    assert content["images_seen"] == 256
    assert newest.name in capsys.readouterr().err


def test_a_full_disk_leaves_the_last_checkpoint(finished_run: Path, tmp_path: Path) -> None:
    run = RunFolder.open(finished_run)
    state = TrainingState(run.config, run.labels, CPU)
    folder = tmp_path / "checkpoints"
    save_checkpoint(state, folder)
    before = checkpoints(folder)[0].read_bytes()
    state.images_seen = 64
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(TrainingError, match=r"cannot write 000000000064.pt .*untouched"):
            save_checkpoint(state, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in folder.iterdir()] == ["000000000000.pt"]
    assert checkpoints(folder)[0].read_bytes() == before


def test_a_checkpoint_older_than_a_setting_has_its_default() -> None:
    config = load_config("digits")
    before = config.model_dump(mode="json")
    del before["data"]["background"]
    check_same_run(before, config)
    with pytest.raises(TrainingError, match="data was "):
        check_same_run(before, load_config("digits", ["data.background=black"]))


def test_a_run_older_than_a_setting_resumes(finished_run: Path) -> None:
    """A setting missing in the checkpoint has its default. Another value is another run, or only selects images."""
    config = RunFolder.open(finished_run).config
    before = config.model_dump(mode="json")
    for newer in ("labels", "image_column", "label_column"):
        del before["data"][newer]
    del before["compile"]
    check_same_run(before, config)
    check_same_run(before, config.model_copy(update={"data": config.data.model_copy(update={"labels": "none"})}))
    with pytest.raises(TrainingError, match="compile was False, is True"):
        check_same_run(before, config.model_copy(update={"compile": True}))
    with pytest.raises(TrainingError, match=r"data was .*'fit': 'pad'.* is .*'fit': 'crop'"):
        check_same_run(before, config.model_copy(update={"data": config.data.model_copy(update={"fit": "crop"})}))
    with pytest.raises(TrainingError, match="gone was 1, is None"):
        check_same_run({**before, "gone": 1}, config)
