"""``diagnose LOG.csv``: one JSON line for each run, whatever else the file holds."""

import json
import re
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from training.cli import app
from training.errors import TrainingError

Rows = list[tuple[int, float, float]]
WriteCsv = Callable[..., Path]


@pytest.fixture
def diagnose(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, dict[str, object]]]:
    """Returns a function that runs the command and returns run → its line."""

    def run(*arguments: str | Path) -> dict[str, dict[str, object]]:
        app(["diagnose", *map(str, arguments)], standalone_mode=False)
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return {line["run"]: line for line in lines}

    return run


def test_each_run_has_one_line_with_five_fields(
    diagnose: Callable[..., dict[str, dict[str, object]]], write_csv: WriteCsv, healthy: Rows, sick: Rows
) -> None:
    """The runs are mixed row by row."""
    found = diagnose(write_csv({"good": ("vanilla", healthy), "bad": ("hinge", sick)}))
    assert list(found) == ["good", "bad"]
    assert set(found["bad"]) == {"run", "alarm_step", "condition", "evidence", "advice"}
    assert found["bad"]["condition"] == "discriminator_overpowers"
    assert 12_100 < found["bad"]["alarm_step"] <= 16_000
    assert "--set regularization.r1=" in str(found["bad"]["advice"])
    assert (found["good"]["alarm_step"], found["good"]["condition"], found["good"]["advice"]) == (None, None, "")


def test_the_column_fid_is_not_looked_at(
    diagnose: Callable[..., dict[str, dict[str, object]]], write_csv: WriteCsv, sick: Rows
) -> None:
    path = write_csv({"bad": ("hinge", sick)})
    plain = diagnose(path)
    path.write_text(re.sub(r",$", ",1e9 and nonsense", path.read_text(), flags=re.MULTILINE).replace("fid1e9", "fid"))
    assert diagnose(path) == plain


def test_ten_rows_are_too_short(
    diagnose: Callable[..., dict[str, dict[str, object]]], write_csv: WriteCsv, healthy: Rows
) -> None:
    found = diagnose(write_csv({"short": ("vanilla", healthy[:10])}))
    assert found["short"]["alarm_step"] is None
    assert "too short: 10 rows" in str(found["short"]["evidence"])


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "NaN"])
def test_a_loss_that_is_no_number_is_a_finding(
    diagnose: Callable[..., dict[str, dict[str, object]]], write_csv: WriteCsv, healthy: Rows, value: str
) -> None:
    found = diagnose(write_csv({"lost": ("vanilla", healthy)}, end=f"lost,vanilla,64,20100,{value},1.0,\n"))
    assert (found["lost"]["condition"], found["lost"]["alarm_step"]) == ("not_finite", 20_100)


def test_empty_cells_are_losses_that_were_not_logged(
    diagnose: Callable[..., dict[str, dict[str, object]]], write_csv: WriteCsv, healthy: Rows
) -> None:
    found = diagnose(write_csv({"run": ("vanilla", healthy)}, end="run,vanilla,64,20100,,,12.5\n"))
    assert found["run"]["evidence"] == "nothing found in 200 rows"


def test_an_unknown_loss_is_told_and_still_watched(
    diagnose: Callable[..., dict[str, dict[str, object]]], write_csv: WriteCsv, sick: Rows
) -> None:
    found = diagnose(write_csv({"run": ("mystery", sick)}))
    assert found["run"]["condition"] == "discriminator_overpowers"
    assert "the loss 'mystery' is unknown" in str(found["run"]["evidence"])


def test_steps_that_do_not_go_on_are_passed_over_and_told(
    write_csv: WriteCsv, healthy: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_csv({"run": ("vanilla", healthy)}, end="run,vanilla,64,20000,1,1,\nrun,vanilla,64,5,1,1,\n")
    app(["diagnose", str(path)], standalone_mode=False)
    captured = capsys.readouterr()
    assert "nothing found in 200 rows" in captured.out
    assert captured.err.startswith("run: 2 rows have a step that is not above the one before")


@pytest.mark.parametrize(
    "end", ["run,van", "run,vanilla,64,20100,0.", "run,vanilla,64,20100,-,1.0,", "\n", "run,vanilla,64,2x"]
)
def test_a_last_row_that_is_being_written_is_ignored(
    diagnose: Callable[..., dict[str, dict[str, object]]], write_csv: WriteCsv, healthy: Rows, end: str
) -> None:
    found = diagnose(write_csv({"run": ("vanilla", healthy)}, end=end))
    assert "nothing found in 200 rows" in str(found["run"]["evidence"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("run,step,g_loss\na,1,2\n", "lacks the columns adv_loss, d_loss (it has run, step, g_loss)"),
        ("", "it is empty"),
        ("run,adv_loss,step,d_loss,g_loss\na,hinge,1,x,2\na,hinge,2,1,2\n", "line 2: the losses are 'x' and '2'"),
        ("run,adv_loss,step,d_loss,g_loss\na,hinge,1.5,1,2\na,hinge,2,1,2\n", "line 2: step is '1.5'"),
        ("run,adv_loss,step,d_loss,g_loss\na,hinge\na,hinge,2,1,2\n", "line 2: there are 2 values"),
        ("run,adv_loss,step,d_loss,g_loss\na,hinge,1,1,2\na,vanilla,2,1,2\n", "two values of adv_loss"),
        ("run,adv_loss,step,d_loss,g_loss\n" + "x" * 200_000, "line 2: this is no CSV"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(content)
    with pytest.raises(TrainingError, match=re.escape(message)):
        app(["diagnose", str(path)], standalone_mode=False)


def test_whole_steps_may_be_written_as_decimals(
    diagnose: Callable[..., dict[str, dict[str, object]]], write_csv: WriteCsv, healthy: Rows
) -> None:
    found = diagnose(write_csv({"run": ("vanilla", healthy)}, end="run,vanilla,64,20100.0,nan,1.0,\n"))
    assert found["run"]["alarm_step"] == 20_100


def test_a_long_log_takes_no_more_memory_than_a_short_one(
    diagnose: Callable[..., dict[str, dict[str, object]]], write_csv: WriteCsv, healthy: Rows
) -> None:
    """A million rows of one run would be 100 MB as Python numbers; here 200 000 add less than 10 MB."""
    path = write_csv({"run": ("vanilla", healthy)})
    diagnose(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with path.open("a") as file:
        for turn in range(1, 1_001):
            file.writelines(f"run,vanilla,64,{step + 20_000 * turn},{d},{g},\n" for step, d, g in healthy)
    assert "in 200200 rows" in str(diagnose(path)["run"]["evidence"])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no"):
        app(["diagnose", str(tmp_path / "none.csv")], standalone_mode=False)
    with pytest.raises(TrainingError, match=r"holds no config.yaml of a run"):
        app(["diagnose", str(tmp_path)], standalone_mode=False)
