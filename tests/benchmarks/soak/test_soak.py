"""``make soak``: the table, the file and the exit code say whether promises were kept."""

import json
import sys
from types import SimpleNamespace

import pytest

from benchmarks.soak import __main__ as command
from benchmarks.soak import programs as runner
from benchmarks.soak.outcome import Outcome


@pytest.fixture
def programs(monkeypatch):
    """Two programs: ``good`` keeps its promise, ``bad`` breaks one."""
    for name, kept in (("good", True), ("bad", False)):
        outcome = Outcome(f"the {name} fault", "3 times", "nothing is lost", "as it is", kept)
        module = SimpleNamespace(run=lambda smoke, work, outcome=outcome: [outcome])
        monkeypatch.setitem(sys.modules, f"benchmarks.soak.{name}", module)
    monkeypatch.setattr(runner, "PROGRAMS", {"good": "a", "bad": "b"})
    monkeypatch.setattr(command, "PROGRAMS", {"good": "a", "bad": "b"})


def test_a_broken_promise_fails_and_is_written_down(programs, tmp_path, capsys):
    assert runner.run_programs(["good"], False, tmp_path / "good.json")
    assert not runner.run_programs(["good", "bad"], False, tmp_path / "both" / "soak.json")
    written = json.loads((tmp_path / "both" / "soak.json").read_text())["programs"]
    assert [row["kept"] for name in ("good", "bad") for row in written[name]["outcomes"]] == [True, False]
    assert "the bad fault" in capsys.readouterr().out


def test_a_broken_promise_is_exit_code_1(programs, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["soak", "--smoke", "--out", str(tmp_path / "soak.json")])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 1
    monkeypatch.setattr(sys, "argv", ["soak", "--skip", "bad", "--out", str(tmp_path / "soak.json")])
    command.main()


def test_an_unknown_program_is_named(programs, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["soak", "--only", "goood"])
    with pytest.raises(SystemExit):
        command.main()
    assert "there is no program goood; there are good, bad" in capsys.readouterr().err
