r"""Measures the doctor on runs whose scores are known, beside a simple rule, and how far its thresholds carry.

    python -m benchmarks.training.doctor LOGS.csv …

A log has the columns of ``diagnose`` and ``fid`` or ``score``, which only this file looks at. A run went wrong if its
last score is over 1.3 × its best, or its best is over 150 (fid) or half of ``noise_score``. An alarm is in time if it
comes no later than the first score after the best that is over 1.3 × the best; without one, any alarm is.

Leaving out: thresholds are chosen anew on all other runs, or on all other losses, and tried on what was left out.

``doctor_runs.csv`` beside this file holds runs of ``doctor_runs.py``.
"""

import argparse
import csv
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.doctor import thresholds
from training.doctor.doctor import NOT_FINITE, Doctor, Finding
from training.doctor.rules import Moment
from training.doctor.signals import KNOWN_LOSSES, known_loss

WORSE = 1.3
WORST_FID = 150.0
WORST_SHARE_OF_NOISE = 0.5

CRITIC_GRID: dict[str, tuple[float, ...]] = {
    "UNDECIDED_CRITIC": (0.15, 0.25, 0.35),
    "INVERTED_CRITIC": (0.8, 0.9, 0.95),
}
"""Thresholds of rules that only a Wasserstein critic has, and what each is tried at."""
OTHER_GRID: dict[str, tuple[float, ...]] = {
    "BURSTS": (0.8, 1.0, 1.3, 1.6, 2.0),
    "FALLEN": (0.3, 0.4, 0.55),
    "DROPPED": (0.4, 0.6, 0.75),
}
"""Thresholds of rules that it has not."""
GRID = {**OTHER_GRID, **CRITIC_GRID}
"""The thresholds that decide most."""

FALSE_ALARM_COSTS = 2
"""Alarms in time that one false alarm outweighs when thresholds are chosen."""
RESAMPLES = 5_000


@dataclass
class Run:
    """One run: its losses, its scores, and how it went."""

    name: str
    loss: str
    steps: list[int] = field(default_factory=list)
    d_loss: list[float] = field(default_factory=list)
    g_loss: list[float] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)
    worst: float = WORST_FID

    @property
    def best(self) -> tuple[float, int]:
        """The best score, and its step."""
        step, score = min(self.scores, key=lambda pair: pair[1])
        return score, step

    @property
    def went_wrong(self) -> bool:
        """Whether the last score is much worse than the best, or the best is bad."""
        best, _ = self.best
        return self.scores[-1][1] > WORSE * best or best > self.worst

    @property
    def deadline(self) -> float:
        """The step by which an alarm is in time."""
        best, best_step = self.best
        return next((step for step, score in self.scores if step > best_step and score > WORSE * best), math.inf)


Alarm = float | None


def read_runs(path: Path) -> list[Run]:
    """Returns the runs of a log that have scores."""
    runs: dict[str, Run] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            run = runs.setdefault(row["run"], Run(row["run"], row["adv_loss"]))
            step = int(row["step"])
            if row["d_loss"] and row["g_loss"]:
                run.steps.append(step)
                run.d_loss.append(float(row["d_loss"]))
                run.g_loss.append(float(row["g_loss"]))
            if score := row.get("fid") or row.get("score"):
                run.scores.append((step, float(score)))
            if noise := row.get("noise_score"):
                run.worst = WORST_SHARE_OF_NOISE * float(noise)
    return [run for run in runs.values() if run.scores]


def doctor_alarm(run: Run) -> Alarm:
    """Returns the step of the doctor's first finding."""
    doctor = Doctor(run.loss)
    for row in zip(run.steps, run.d_loss, run.g_loss, strict=True):
        if found := doctor.observe_losses(*row):
            return found[0].step
    return None


class _Recorder(Doctor):
    """Keeps the moments at which it has looked: they do not depend on thresholds."""

    def __init__(self, loss: str) -> None:
        super().__init__(loss)
        self.moments: list[tuple[int, Moment]] = []

    def check(self, step: int, moment: Moment) -> list[Finding]:
        self.moments.append((step, moment))
        return super().check(step, moment)


class Replay:
    """One run, whose alarm under other thresholds takes no second look at its rows."""

    def __init__(self, run: Run) -> None:
        doctor = _Recorder(run.loss)
        for row in zip(run.steps, run.d_loss, run.g_loss, strict=True):
            doctor.observe_losses(*row)
        self._loss, self._moments = run.loss, doctor.moments
        self._not_finite = [found.step for found in doctor.findings if found.condition.name == NOT_FINITE]
        self._names = CRITIC_GRID if known_loss(run.loss) == "wasserstein" else OTHER_GRID
        self._alarms: dict[tuple[float, ...], Alarm] = {}

    def alarm(self, setting: dict[str, float]) -> Alarm:
        """Returns the step of the first finding under these thresholds."""
        key = tuple(setting[name] for name in self._names)
        if key not in self._alarms:
            with changed(setting):
                self._alarms[key] = min([*self._first(), *self._not_finite[:1]], default=None)
        return self._alarms[key]

    def _first(self) -> list[int]:
        doctor = Doctor(self._loss)
        for step, moment in self._moments:
            if found := doctor.check(step, moment):
                return [found[0].step]
        return []


def simple_alarm(run: Run) -> Alarm:
    """Returns where the discriminator's loss, the median over 1 000 steps, is first below 0.1 of its equilibrium."""
    scales = KNOWN_LOSSES.get(known_loss(run.loss) or "", ())
    steps, losses, first = np.array(run.steps), np.array(run.d_loss), 0
    for last, step in enumerate(steps if scales else ()):
        while steps[first] <= step - 1_000:
            first += 1
        if step >= 1_000 and np.median(losses[first : last + 1]) < 0.1 * scales[0].d_loss:
            return int(step)
    return None


def in_time(run: Run, alarm: Alarm) -> bool:
    """Returns whether a run that went wrong was reported in time."""
    return alarm is not None and alarm <= run.deadline


def tally(runs: list[Run], alarms: list[Alarm]) -> tuple[int, int, int, int]:
    """Returns the alarms in time, the runs that went wrong, the false alarms, and the runs that went well."""
    wrong = [(run, alarm) for run, alarm in zip(runs, alarms, strict=True) if run.went_wrong]
    well = [alarm for run, alarm in zip(runs, alarms, strict=True) if not run.went_wrong]
    return (
        sum(in_time(run, alarm) for run, alarm in wrong),
        len(wrong),
        sum(alarm is not None for alarm in well),
        len(well),
    )


@contextmanager
def changed(values: dict[str, float]) -> Iterator[None]:
    """Changes thresholds inside the block."""
    before = {name: getattr(thresholds, name) for name in values}
    try:
        for name, value in values.items():
            setattr(thresholds, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(thresholds, name, value)


def left_out(runs: list[Run], replays: list[Replay], group: Callable[[Run], str]) -> list[Alarm]:
    """Returns the alarm of each run under thresholds that were chosen without its group."""
    settings = [dict(zip(GRID, values, strict=True)) for values in product(*GRID.values())]
    table = [[replay.alarm(setting) for replay in replays] for setting in settings]
    chosen: dict[str, int] = {}
    for name in {group(run) for run in runs}:
        others = [index for index, run in enumerate(runs) if group(run) != name]
        gains = []
        for alarms in table:
            caught, _, false, _ = tally([runs[index] for index in others], [alarms[index] for index in others])
            gains.append(caught - FALSE_ALARM_COSTS * false)
        best = [index for index, gain in enumerate(gains) if gain == max(gains)]
        chosen[name] = _middle(best, settings)
    return [table[chosen[group(run)]][index] for index, run in enumerate(runs)]


def _middle(candidates: list[int], settings: list[dict[str, float]]) -> int:
    """Returns the setting nearest to the middle of equally good ones, in steps of the grid."""
    places = np.array([[GRID[name].index(settings[index][name]) for name in GRID] for index in candidates])
    return candidates[int(((places - places.mean(0)) ** 2).sum(1).argmin())]


def interval(outcomes: list[bool]) -> str:
    """Returns the share of true outcomes with its 90 % bootstrap interval over runs."""
    if not outcomes:
        return "none"
    values: NDArray[np.float64] = np.array(outcomes, dtype=float)
    draws = np.random.RandomState(0).randint(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(1), (0.05, 0.95))
    return f"{values.mean():.0%} ({low:.0%} – {high:.0%})"


def report(title: str, runs: list[Run], alarms: list[Alarm]) -> None:
    """Prints one row of the table."""
    caught, wrong, false, well = tally(runs, alarms)
    pairs = [*zip(runs, alarms, strict=True)]
    shares = (
        interval([in_time(run, alarm) for run, alarm in pairs if run.went_wrong]),
        interval([alarm is not None for run, alarm in pairs if not run.went_wrong]),
    )
    print(f"| {title} | {caught} of {wrong} | {shares[0]} | {false} of {well} | {shares[1]} |")


def main() -> None:
    """Prints every run that went wrong or raised an alarm, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path, nargs="+", metavar="LOGS.csv")
    parser.add_argument("--no-choosing", action="store_true", help="leave out what chooses thresholds, which is slow")
    options = parser.parse_args()
    runs = [run for path in options.logs for run in read_runs(path)]
    alarms, simple = [doctor_alarm(run) for run in runs], [simple_alarm(run) for run in runs]
    print("| run | loss | best at | too late after | doctor | simple rule |\n|---|---|---|---|---|---|")
    for run, alarm, other in zip(runs, alarms, simple, strict=True):
        if run.went_wrong or alarm or other:
            deadline = f"{run.deadline:g}" if run.went_wrong else "went well"
            print(f"| {run.name} | {run.loss} | {run.best[1]} | {deadline} | {alarm} | {other} |")
    print("\n| rule | in time | share | false alarms | share |\n|---|---|---|---|---|")
    report("simple rule", runs, simple)
    report("doctor", runs, alarms)
    if not options.no_choosing:
        replays = [Replay(run) for run in runs]
        report("doctor, each run left out", runs, left_out(runs, replays, lambda run: run.name))
        by_loss = left_out(runs, replays, lambda run: known_loss(run.loss) or run.loss)
        report("doctor, each loss left out", runs, by_loss)
        print(f"\nThresholds chosen anew: {', '.join(GRID)}")


if __name__ == "__main__":
    main()
