"""``diagnose RUN``: all signals of a run of Figment's, as text, JSON and a picture."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from training.cli import app

Rows = list[tuple[int, float, float]]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path, sick: Rows) -> Path:
    """Returns a run whose log says that its discriminator has won, and its scores that the best is over."""
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    metrics = [
        {
            "images_seen": step,
            "discriminator_loss": d_loss,
            "generator_loss": g_loss,
            "generator_gradient_norm": 1.0,
            "real_logit": 1.0,
            "fake_logit": -1.0,
            "time": 0.0,
        }
        for step, d_loss, g_loss in sick
    ]
    scores = [
        {"images_seen": 2_000 * (number + 1), "half_life": half_life, "fxd": score * factor, "coverage": 0.5}
        for number, score in enumerate([60.0, 30.0, 20.0, 20.0, 21.0, 22.0, 30.0, 40.0, 50.0, 60.0])
        for half_life, factor in ((100, 2.0), (1_000, 1.0))
    ]
    (folder / "doctor.jsonl").unlink()  # an earlier version has trained the run
    for name, lines in (("metrics.jsonl", metrics), ("scores.jsonl", scores)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_text_and_picture(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app(["diagnose", str(run)], standalone_mode=False)
    text = capsys.readouterr().out
    assert text.startswith("run: 2 findings")
    assert "discriminator_overpowers: the discriminator wins" in text
    assert "late_degradation: the best is over (from 14000, reported at 16000" in text
    assert "the best was 20 at 6000" in text, "of the best EMA, not of the other"
    assert "--set regularization.r1=2\n" in text, "four times the run's own"
    with Image.open(run / "diagnosis.png") as picture:
        assert picture.width > 700
        assert len(picture.getcolors(1 << 20)) > 50


def test_json_and_another_place_for_the_picture(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app(["diagnose", str(run), "--json", "--picture", str(run.parent / "other.png")], standalone_mode=False)
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["condition"] == "discriminator_overpowers"
    assert (run.parent / "other.png").exists()
    assert not (run / "diagnosis.png").exists()


def test_a_run_that_is_too_short_and_is_writing_its_last_line(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    for name, rows in (("doctor.jsonl", 16), ("metrics.jsonl", 4)):
        with (folder / name).open("a") as file:
            file.write('{"images_seen": 9')
        app(["diagnose", str(folder)], standalone_mode=False)
        assert f"too short: {rows} rows" in capsys.readouterr().out
        (folder / "doctor.jsonl").unlink(missing_ok=True)  # as of a run of an earlier version
