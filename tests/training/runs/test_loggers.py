"""Every logger of a run receives the same progress, and JSON lines survive a kill."""

import json
from pathlib import Path

from PIL import Image

from training.runs.loggers import JsonLinesLogger, run_loggers

MEANS = {
    "discriminator_loss": 1.0,
    "generator_loss": 2.0,
    "real_logit": 0.5,
    "fake_logit": -0.5,
    "images_per_second": 100.0,
}


def test_every_logger_takes_every_event(tmp_path: Path) -> None:
    loggers = run_loggers(tmp_path, images_seen=0, budget=100)
    for logger in loggers:
        logger.start()
        logger.step(16)
        logger.metrics(32, MEANS)
        logger.scores(32, 1000, {"fxd": 3.0})
        logger.picture(32, "samples", Image.new("L", (8, 8)))
        logger.close()
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line).items() >= {"images_seen": 32, **MEANS}.items()
    assert any((tmp_path / "tensorboard").iterdir())


def test_quiet_omits_the_console_only(tmp_path: Path) -> None:
    loud, quiet = run_loggers(tmp_path, 0, 100), run_loggers(tmp_path, 0, 100, quiet=True)
    assert [type(logger) for logger in loud[:-1]] == [type(logger) for logger in quiet]


def test_lines_from_beyond_the_checkpoint_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"images_seen": 32}\n{"images_seen": 64}\n{"images_se')
    JsonLinesLogger(tmp_path, 32).close()
    assert path.read_text() == '{"images_seen": 32}\n'
