"""A comparison trains each contender for equal time, and a restart runs only what is missing."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.training.rivals.cases import CASES, Case
from benchmarks.training.rivals.clock import CLOCKS
from benchmarks.training.rivals.contender import Contender
from benchmarks.training.rivals.entries import ENDLESS, Entry
from benchmarks.training.rivals.judges import Judges
from benchmarks.training.rivals.results import Results
from benchmarks.training.rivals.runs import Comparison
from training.errors import DivergenceError, TrainingError

MNIST = CASES["mnist"]
BATCH = 10


@dataclass
class World:
    """Stand-ins that share a clock: each step takes half a second, each judgement an hour."""

    folder: Path
    now: float = 0.0
    budgets: list[int] = field(default_factory=list)
    diverges_at: float = float("inf")
    settings: dict[str, Any] = field(default_factory=lambda: {"rate": 1})

    def complete(self, *minutes: float, has_budget: bool = False) -> None:
        """Runs a comparison of one contender, as a new process would."""
        comparison = Comparison(Results(self.folder), {"mnist": "nowhere"}, "cpu", {"mnist": cast(Judges, self)})
        entry = Entry("one", "One", has_budget, lambda case: self.settings, self.start)
        comparison.complete(MNIST, entry, minutes)

    def start(self, case: Case, source: str, budget: int) -> Contender:
        self.budgets.append(budget)
        return StandIn(self, budget)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "results.jsonl").read_text().splitlines()]

    count, floor, name = 20, {"fxd": 1.0}, "fxd-mnist-0"

    def score(self, images: NDArray[np.uint8]) -> dict[str, float]:
        self.now += 3600
        return {"fxd": float(images.mean())}


class StandIn:
    """Generates images whose level is the number of its steps."""

    precision = "float32"

    def __init__(self, world: World, budget: int) -> None:
        self._world, self._budget, self.images_seen = world, budget, 0

    def train(self, after_step: Callable[[], None]) -> None:
        while self.images_seen < self._budget:
            self._world.now += 0.5
            self.images_seen += BATCH
            if self.images_seen / BATCH > self._world.diverges_at:
                raise DivergenceError("the losses are NaN")
            after_step()

    def sample(self, count: int) -> NDArray[np.uint8]:
        return np.full((count, 32, 32, 1), self.images_seen // BATCH, np.uint8)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    monkeypatch.setitem(CLOCKS, "cpu", lambda: world.now)
    return world


def test_constant_rates_take_one_run_that_is_judged_at_every_mark(world: World) -> None:
    world.complete(0.5, 1)
    assert world.budgets == [ENDLESS]
    first, second = world.lines()
    assert (first["minutes"], first["seconds"], first["images"], first["scores"]) == (0.5, 30, 600, {"fxd": 60})
    # The hour at the first mark has not counted.
    assert (second["minutes"], second["seconds"], second["images"], second["scores"]) == (1, 60, 1200, {"fxd": 120})
    assert second["images_per_second"] == 20
    assert second["precision"] == "float32"
    assert second["settings"] == {"rate": 1}
    assert "PyTorch" in second["machine"]


def test_a_budget_is_what_a_short_run_says_will_end_at_the_mark(world: World) -> None:
    world.complete(1, 2, has_budget=True)
    assert world.budgets == [ENDLESS, 1200, ENDLESS, 2400]
    first, second = world.lines()
    assert (first["images"], first["seconds"]) == (1200, 60), "without the short run"
    assert (second["images"], second["seconds"]) == (2400, 120)


def test_a_restart_runs_only_what_is_missing(world: World) -> None:
    world.complete(0.5)
    world.complete(0.5, 1)
    assert [line["minutes"] for line in world.lines()] == [0.5, 1]
    runs = len(world.budgets)
    world.complete(0.5, 1)
    assert len(world.budgets) == runs


def test_other_settings_are_another_run(world: World) -> None:
    world.complete(0.5)
    world.settings = {"rate": 2}
    world.complete(0.5)
    assert [line["settings"] for line in world.lines()] == [{"rate": 1}, {"rate": 2}]
    (newest,) = Results(world.folder).lines().values()
    assert newest["settings"] == {"rate": 2}


@pytest.mark.parametrize("has_budget", [False, True])
def test_a_run_that_diverges_is_a_result(world: World, has_budget: bool) -> None:
    world.diverges_at = 30
    world.complete(0.25, 1, has_budget=has_budget)
    lines = world.lines()
    assert [line["outcome"] for line in lines][-1] == "the losses are NaN"
    assert "scores" not in lines[-1]
    runs = len(world.budgets)
    world.complete(0.25, 1, has_budget=has_budget)
    assert len(world.budgets) == runs, "it would diverge again"


def test_every_result_has_its_samples(world: World) -> None:
    world.complete(0.5)
    assert [path.name for path in (world.folder / "samples").iterdir()] == ["mnist-one-0.5-cpu.png"]


def test_a_torn_line_is_named(world: World) -> None:
    world.complete(0.5)
    file = world.folder / "results.jsonl"
    file.write_text(file.read_text() + '{"dataset": "mn')
    with pytest.raises(TrainingError, match=r"line 2 of .* remove the line"):
        world.complete(0.5)
