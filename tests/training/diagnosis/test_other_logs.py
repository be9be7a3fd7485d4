"""Logs of other programs: TensorBoard's event files, and stats.jsonl of StyleGAN."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from training.cli import app
from training.diagnosis.names import KNOWN_NAMES, find_names
from training.errors import TrainingError

Rows = list[tuple[int, float, float]]


@pytest.fixture
def diagnose(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, object]]]:
    """Returns a function that runs the command and returns its lines."""

    def run(*arguments: str | Path) -> list[dict[str, object]]:
        app(["diagnose", *map(str, arguments)], standalone_mode=False)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def write_events(folder: Path, rows: Rows, d_name: str, g_name: str) -> None:
    with SummaryWriter(str(folder)) as writer:
        for step, d_loss, g_loss in rows:
            writer.add_scalar(d_name, d_loss, step)
            writer.add_scalar(g_name, g_loss, step)
            writer.add_scalar("something/else", 1.0, step)


@pytest.mark.parametrize("names", [*zip(KNOWN_NAMES["d_loss"], KNOWN_NAMES["g_loss"], strict=True)])
def test_known_names_of_scalars(names: tuple[str, str]) -> None:
    assert find_names(["other", *names], {}, "log") == dict(zip(names, ("d_loss", "g_loss"), strict=True))


def test_event_files(diagnose: Callable[..., list[dict[str, object]]], tmp_path: Path, sick: Rows) -> None:
    write_events(tmp_path / "run", sick, "Loss/D/loss", "Loss/G/loss")
    [found] = diagnose(tmp_path / "run", "--loss", "hinge")
    assert (found["run"], found["condition"]) == ("run", "discriminator_overpowers")
    assert "unknown" not in str(found["evidence"])


def test_two_lines_of_one_chart_are_one_run(
    diagnose: Callable[..., list[dict[str, object]]], tmp_path: Path, sick: Rows
) -> None:
    """StudioGAN calls ``add_scalars``, which writes each line of the chart into a folder of its own."""
    with SummaryWriter(str(tmp_path / "logs" / "biggan")) as writer:
        for step, d_loss, g_loss in sick:
            writer.add_scalars("Losses", {"discriminator": d_loss, "generator": g_loss}, step)
    [found] = diagnose(tmp_path / "logs")
    assert (found["run"], found["condition"]) == ("biggan", "discriminator_overpowers")


def test_several_runs_below_one_folder(
    diagnose: Callable[..., list[dict[str, object]]], tmp_path: Path, sick: Rows, healthy: Rows
) -> None:
    write_events(tmp_path / "first", healthy, "d_loss", "g_loss")
    write_events(tmp_path / "second", sick, "d_loss", "g_loss")
    assert [(line["run"], line["alarm_step"] is None) for line in diagnose(tmp_path)] == [
        ("first", True),
        ("second", False),
    ]


def test_a_run_that_was_resumed_has_several_files(
    diagnose: Callable[..., list[dict[str, object]]], tmp_path: Path, sick: Rows
) -> None:
    """The later file wins where both have a step."""
    write_events(tmp_path, [(step, 99.0, 99.0) for step, _, _ in sick[:150]], "d_loss", "g_loss")
    write_events(tmp_path, sick, "d_loss", "g_loss")
    [found] = diagnose(tmp_path)
    assert found["condition"] == "discriminator_overpowers"


def test_nan_in_event_files_is_a_finding(
    diagnose: Callable[..., list[dict[str, object]]], tmp_path: Path, healthy: Rows
) -> None:
    write_events(tmp_path, [*healthy, (20_100, float("nan"), 1.0)], "d_loss", "g_loss")
    [found] = diagnose(tmp_path)
    assert (found["condition"], found["alarm_step"]) == ("not_finite", 20_100)


def test_a_torn_event_file_is_read_up_to_the_tear(
    diagnose: Callable[..., list[dict[str, object]]], tmp_path: Path, sick: Rows
) -> None:
    write_events(tmp_path, sick, "d_loss", "g_loss")
    [file] = tmp_path.glob("*tfevents*")
    file.write_bytes(file.read_bytes()[:-7])
    [found] = diagnose(tmp_path)
    assert found["condition"] == "discriminator_overpowers"


def test_other_names_need_tags(diagnose: Callable[..., list[dict[str, object]]], tmp_path: Path, sick: Rows) -> None:
    write_events(tmp_path, sick, "critic", "actor")
    with pytest.raises(TrainingError, match=r"no scalar for d_loss: name it with --tags d_loss=NAME; it has critic"):
        diagnose(tmp_path)
    [found] = diagnose(tmp_path, "--tags", "d_loss=critic,g_loss=actor")
    assert found["condition"] == "discriminator_overpowers"
    with pytest.raises(TrainingError, match="--tags takes d_loss=NAME,g_loss=NAME"):
        diagnose(tmp_path, "--tags", "critic")


def stats_lines(rows: Rows) -> list[str]:
    return [
        json.dumps(
            {
                "Loss/D/loss": {"num": 64, "mean": d_loss, "std": 0.1},
                "Loss/G/loss": {"num": 64, "mean": g_loss, "std": 0.1},
                "Progress/kimg": {"num": 1, "mean": step / 100, "std": 0},
                "timestamp": 1.5e9,
            }
        )
        for step, d_loss, g_loss in rows
    ]


@pytest.mark.parametrize("whole_folder", [True, False])
def test_stats_jsonl(
    diagnose: Callable[..., list[dict[str, object]]], tmp_path: Path, sick: Rows, whole_folder: bool
) -> None:
    """Steps are thousands of images, and the loss is the logistic one. The last line is being written."""
    path = tmp_path / "00000-stylegan3" / "stats.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join([*stats_lines(sick), '{"Loss/D/l']))
    [found] = diagnose(path.parent if whole_folder else path)
    assert (found["run"], found["condition"]) == ("00000-stylegan3", "discriminator_overpowers")
    assert 121 < found["alarm_step"] < 160
    assert "unknown" not in str(found["evidence"])


def test_a_damaged_line_of_stats_jsonl(
    diagnose: Callable[..., list[dict[str, object]]], tmp_path: Path, sick: Rows
) -> None:
    path = tmp_path / "stats.jsonl"
    path.write_text("\n".join(["{", *stats_lines(sick)]))
    with pytest.raises(TrainingError, match="line 1: this is no JSON"):
        diagnose(path)
