"""Any bytes in a log are read or refused with one line that names the file."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.diagnosis.csv_log import COLUMNS, read_csv
from training.diagnosis.stats_file import read_stats
from training.diagnosis.watched_runs import WatchedRuns
from training.errors import TrainingError

HEAD = ",".join(COLUMNS)
_CELLS = st.sampled_from(
    [
        "a",
        "non-saturating",
        "",
        "1",
        "-1",
        "9" * 5000,
        "1e400",
        "1e300",
        "nan",
        "inf",
        "0x1",
        "²",
        "٣",
        '"',
        "\0",
        "1_0",
    ]
)
_LINES = st.lists(st.lists(_CELLS, max_size=6).map(",".join), max_size=5).map("\n".join)


@settings(max_examples=300, deadline=None)
@given(_LINES.map(lambda lines: f"{HEAD}\n{lines}\n".encode()) | st.binary(max_size=80))
def test_any_csv(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    with suppress(TrainingError):
        read_csv(path, WatchedRuns())


def test_a_step_of_thousands_of_digits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{HEAD}\na,non-saturating,{'9' * 5000},1,1\na,non-saturating,2,1,1\n")
    with pytest.raises(TrainingError, match="line 2: step is '999"):
        read_csv(path, WatchedRuns())


@pytest.mark.parametrize("step", ["NaN", "Infinity", "1" + "0" * 400, "null", "[]"])
def test_a_tick_without_a_usable_step_is_passed_over(tmp_path: Path, step: str) -> None:
    line = '{"Loss/D/loss": {"mean": 1.0}, "Loss/G/loss": {"mean": 1.0}, "Progress/kimg": {"mean": %s}}\n'
    path = tmp_path / "stats.jsonl"
    path.write_text(line % step + line % 1)
    read_stats(path, WatchedRuns(), "non-saturating", {})


def test_a_deep_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stats.jsonl"
    path.write_text("[" * 100_000 + "]" * 100_000 + "\n" + json.dumps({"a": 1}) + "\n")
    with pytest.raises(TrainingError, match="line 1: this is no JSON"):
        read_stats(path, WatchedRuns(), "non-saturating", {})
