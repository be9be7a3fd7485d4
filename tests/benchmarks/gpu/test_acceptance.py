"""The acceptance test on a GPU: its logic, with stand-ins for the card."""

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.gpu import acceptance, engines
from benchmarks.gpu.checks import images, resume
from benchmarks.gpu.isolation import Finding, rows_of, run_checks
from benchmarks.gpu.rows import Row
from benchmarks.gpu.target import CPU, GPU
from benchmarks.gpu.trainings import relative_difference, settings_for
from training.config.files import load_config
from training.loop.state import TrainingState

GOOD = """
from benchmarks.gpu.rows import Row
def check(target):
    yield Row("one", "fine", values={"figure": 1})
    yield Row("two", target.device)
"""
STAND_INS = {
    "good": GOOD,
    "broken": GOOD + "    raise ValueError('no\\n such [thing]')\n",
    "crashing": GOOD + "    import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n",
    "leaving": GOOD + "    import os; os._exit(7)\n",
    "hanging": GOOD + "    import time; time.sleep(600)\n",
    "unwilling": "from benchmarks.gpu.rows import SkippedError\n"
    "def check(target):\n    raise SkippedError('one card')\n    yield\n",
    "without_package": "import a_package_that_nobody_has\n",
    "without_module": "import serving.a_module_that_is_gone\n",
    "spoiling": "import sys\nfrom benchmarks.gpu.rows import Row\n"
    "def check(target):\n    sys.spoilt = True\n    yield Row('context', 'lost', 'failed')\n",
    "spoilt": "import sys\nfrom benchmarks.gpu.rows import judged\n"
    "def check(target):\n    yield judged('context', not hasattr(sys, 'spoilt'), '')\n",
}


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Writes each stand-in as a module that the checks' process can import; returns name → module."""
    for name, text in STAND_INS.items():
        (tmp_path / f"stand_in_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return {name: f"stand_in_{name}" for name in STAND_INS}


def findings(stand_ins: dict[str, str], *names: str, seconds: float = 60) -> list[tuple[str, str, str, str]]:
    found = run_checks({name: stand_ins[name] for name in names}, replace(CPU, check_seconds=seconds))
    return [(finding.check, finding.row.subject, finding.row.status, finding.row.result) for finding in found]


def test_whatever_ends_a_check_ends_no_other(stand_ins: dict[str, str]) -> None:
    """An exception, a crash and an exit keep the rows so far, become one failed row, and the next check runs."""
    one, two = ("one", "passed", "fine"), ("two", "passed", "cpu")
    reasons = {
        "broken": "ValueError: no such [thing]",
        "crashing": "the process was ended by SIGSEGV",
        "leaving": "the process ended with exit code 7",
    }
    expected = []
    for name, reason in reasons.items():
        subject = stand_ins[name] if name == "broken" else name
        expected += [(name, *one), (name, *two), (name, subject, "failed", reason)]
    assert findings(stand_ins, *reasons, "good") == [*expected, ("good", *one), ("good", *two)]


def test_a_hanging_check_is_ended(stand_ins: dict[str, str]) -> None:
    *_, hanging, one, two = findings(stand_ins, "hanging", "good", seconds=8)
    assert hanging == ("hanging", "hanging", "failed", "took more than 8 s")
    assert one[0] == two[0] == "good"


def test_a_failure_spoils_no_later_check(stand_ins: dict[str, str]) -> None:
    """After an error of CUDA every call in its process fails."""
    assert [status for *_, status, _ in findings(stand_ins, "spoiling", "spoilt")] == ["failed", "passed"]


def test_a_missing_package_is_skipped_and_a_missing_module_of_our_own_fails(stand_ins: dict[str, str]) -> None:
    missing, gone, unwilling = (
        next(rows_of(stand_ins[name], CPU)) for name in ("without_package", "without_module", "unwilling")
    )
    assert (missing.status, missing.result) == ("skipped", "needs the package a_package_that_nobody_has: make install")
    assert gone.status == "failed"
    assert "No module named 'serving.a_module_that_is_gone'" in gone.result
    assert "Traceback" in gone.values["traceback"]
    assert (unwilling.status, unwilling.result) == ("skipped", "one card")


@pytest.mark.parametrize(
    ("statuses", "passed"),
    [(["passed", "skipped"], True), (["passed", "failed"], False), (["skipped"], False)],
)
def test_nothing_failed_and_something_passed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    statuses: list[str],
    passed: bool,
) -> None:
    """A run in which everything was skipped has shown nothing, so it does not pass."""
    rows = [Finding("driver", Row("[card] 0", "of [brackets]", status, {"figure": 1}), 0.5) for status in statuses]
    monkeypatch.setattr(acceptance, "run_checks", lambda modules, target: iter(rows))
    assert acceptance.accept(["driver"], CPU, tmp_path / "new" / "gpu.json") is passed
    document = json.loads((tmp_path / "new" / "gpu.json").read_text())
    assert document["passed"] is passed
    assert [row["status"] for row in document["rows"]] == statuses
    assert document["rows"][0].items() >= {"check": "driver", "of": "[card] 0", "figure": 1, "seconds": 0.5}.items()
    output = capsys.readouterr().out
    assert "[card] 0" in output
    assert "of [brackets]" in output


def test_a_machine_without_a_gpu_is_told_so_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(acceptance, "driver_version", lambda: None)
    assert not acceptance.accept(["driver"], GPU, tmp_path / "gpu.json")
    assert capsys.readouterr().out.splitlines() == [
        "This machine has no NVIDIA GPU, or no driver for it: neither /proc nor nvidia-smi names one."
    ]
    assert not (tmp_path / "gpu.json").exists()


@pytest.mark.slow_proof
def test_every_check_runs_on_the_cpu_in_place_of_the_gpu(tmp_path: Path) -> None:
    """On a CPU images, resumed runs and CUDA graphs (which it ignores) are exact, so every figure has one value."""
    file = tmp_path / "gpu.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--smoke", "--out", file], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(file.read_text())["rows"]
    assert {row["check"] for row in rows} == set(acceptance.CHECKS)
    assert [row["check"] for row in rows if row["status"] != "passed"] == ["driver"]
    for row in rows:
        if row["check"] in ("images", "cuda_graphs"):
            assert row.get("largest_difference", 0) == 0, row
        if row["check"] == "resume":
            assert row["difference"] == row["difference_of_whole_runs"] == 0, row
    assert all("float32" in row["of"] or "bfloat16" in row["of"] for row in rows if row["check"] == "steps")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "imges"], "there is no check imges; there are driver, provider, images"),
        (["--only", "images", "--skip", "images"], "--only and --skip leave no check"),
    ],
)
def test_a_wrong_name_is_an_error(arguments: list[str], message: str) -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.gpu", *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize("preset", GPU.presets)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_trainings_on_a_gpu_have_one_checkpoint_at_half(preset: str, precision: str) -> None:
    config = load_config(preset, settings_for(preset, precision, GPU))
    assert config.images == 2 * config.pace.checkpoint == 4 * config.pace.tick
    assert config.pace.tick % config.batch_size == 0
    assert config.images // config.batch_size == GPU.training_steps


@pytest.mark.parametrize(("offset", "status"), [(1, "passed"), (2, "failed")])
def test_images_may_differ_by_one_step(monkeypatch: pytest.MonkeyPatch, offset: int, status: str) -> None:
    def generate(engine: object, inputs: object, size: int) -> np.ndarray:
        return np.full((2, 4, 4, 3), 100 + offset * next(calls), np.uint8)

    calls = itertools.cycle([0, 1])  # the CPU, then the GPU; alone, then in batches
    monkeypatch.setattr(images, "generate", generate)
    monkeypatch.setattr(images, "shipped_bundles", lambda: engines.shipped_bundles()[:1])
    monkeypatch.setattr(images, "open_on", lambda *_: SimpleNamespace(buckets=(1,)))
    rows = list(images.check(CPU))
    assert [row.status for row in rows] == [status, status]
    assert [row.values["largest_difference"] for row in rows] == [offset, offset]


def test_a_resume_that_forgets_the_optimisers_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    load = TrainingState.load_state_dict

    def forgetful(state: TrainingState, content: dict[str, Any]) -> None:
        load(state, content)
        state.generator_optimizer.state.clear()

    monkeypatch.setattr(TrainingState, "load_state_dict", forgetful)
    row = next(resume.check(CPU))
    assert row.status == "failed"
    assert "differs by" in row.result
    assert row.values["difference_of_whole_runs"] == 0


@pytest.mark.parametrize(("apart", "status"), [(2.9, "passed"), (3.1, "failed")])
def test_a_resumed_run_may_differ_as_much_as_two_whole_ones(apart: float, status: str) -> None:
    """A GPU that adds up in another order each time must not fail, and a wrong resume must."""
    assert resume.verdict("digits", apart * 1e-6, 1e-6, steps=24).status == status


def test_the_distance_of_checkpoints() -> None:
    one = {"weight": torch.tensor([3.0, 4.0]), "steps": torch.tensor(7)}
    assert relative_difference(one, {name: value.clone() for name, value in one.items()}) == 0
    assert relative_difference(one, {**one, "weight": torch.tensor([3.0, 4.5])}) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="differ in steps"):
        relative_difference(one, {**one, "steps": torch.tensor(8)})
    with pytest.raises(ValueError, match="other tensors"):
        relative_difference(one, {"weight": one["weight"]})
