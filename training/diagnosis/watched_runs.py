"""Passes the rows of a log to one doctor per run, and collects one diagnosis for each."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from training.doctor.conditions import Condition
from training.doctor.doctor import Doctor, Finding
from training.doctor.signals import KNOWN_LOSSES, Signals
from training.doctor.thresholds import WARM_UP_ROWS
from training.errors import TrainingError


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor says about a run: its first finding, and all of them."""

    run: str
    rows: int
    """Rows that had both losses."""
    known_loss: bool
    loss: str
    findings: tuple[Finding, ...]
    attempts: Callable[[Condition], list[str]] = Condition.usual_attempts
    """What to try against a condition."""

    def to_json(self) -> str:
        """Returns one line of JSON, in which a run without a finding has null for step and condition."""
        first = self.findings[0] if self.findings else None
        return json.dumps(
            {
                "run": self.run,
                "alarm_step": first.step if first else None,
                "condition": first.condition.name if first else None,
                "evidence": self.summary(),
                "advice": first.condition.advise(self.attempts(first.condition)) if first else "",
            },
            ensure_ascii=False,
        )

    def summary(self) -> str:
        """Returns the evidence for the first finding, or how much was read without one."""
        limits = "" if self.known_loss else f"; the loss {self.loss!r} is unknown, so only rules without a scale apply"
        if self.findings:
            first = self.findings[0]
            since = f" (since step {first.began})" if first.began != first.step else ""
            return f"{first.evidence}{since}; {first.confidence}{limits}"
        if self.rows < WARM_UP_ROWS:
            return f"too short: {self.rows} rows with both losses, and the rules need {WARM_UP_ROWS}{limits}"
        return f"nothing found in {self.rows} rows{limits}"


@dataclass(slots=True)
class WatchedRun:
    """One run whose log is being read."""

    run: str
    loss: str
    doctor: Doctor
    last_step: float = -1
    out_of_order: int = 0
    """Rows passed over because their step did not go on."""


@dataclass
class WatchedRuns:
    """All runs of a log."""

    first_finding_only: bool = False
    """Whether a run that has a finding needs no more rows."""
    by_name: dict[str, WatchedRun] = field(default_factory=dict)

    def add(self, run: str, loss: str) -> WatchedRun:
        """Returns the run of that name, new or known. Raises ``TrainingError`` if the run had another loss before."""
        watched = self.by_name.get(run)
        if watched is None:
            watched = self.by_name[run] = WatchedRun(run, loss, Doctor(loss))
        elif watched.loss != loss:
            raise TrainingError(
                f"the run {run!r} has two values of adv_loss, {watched.loss!r} and {loss!r}: give each run a name of "
                "its own in the column run"
            )
        return watched

    def observe(self, watched: WatchedRun, signals: Signals) -> None:
        """Passes on a row. A step that does not go on is counted and passed over."""
        if signals.step <= watched.last_step:
            watched.out_of_order += 1
            return
        watched.last_step = signals.step
        watched.doctor.observe(signals)

    def observe_losses(self, watched: WatchedRun, step: int, d_loss: float, g_loss: float) -> None:
        """Does what ``observe`` does for a row that has only the losses, faster."""
        if step <= watched.last_step:
            watched.out_of_order += 1
            return
        watched.last_step = step
        if not (self.first_finding_only and watched.doctor.findings):
            watched.doctor.observe_losses(step, d_loss, g_loss)

    def diagnoses(self) -> list[Diagnosis]:
        """Returns the diagnosis of each run, in the order in which the runs began."""
        return [
            Diagnosis(
                watched.run,
                watched.doctor.rows,
                watched.doctor.loss in KNOWN_LOSSES,
                watched.loss,
                tuple(watched.doctor.findings),
            )
            for watched in self.by_name.values()
        ]

    def warnings(self) -> list[str]:
        """Returns a line for each run of which rows were passed over."""
        return [
            f"{watched.run}: {watched.out_of_order} rows have a step that is not above the one before; they were "
            "passed over"
            for watched in self.by_name.values()
            if watched.out_of_order
        ]
