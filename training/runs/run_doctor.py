"""Shows a training run to the doctor, reports what it finds, and proposes what to do about it."""

import math
from collections.abc import Sequence
from typing import Any

from training.config.schema import Config
from training.data.dataset import TrainingImages
from training.doctor.doctor import NOT_FINITE, Finding
from training.doctor.signals import Signals
from training.loop.remedies import changes_of
from training.loop.state import TrainingState
from training.loop.treatment import Decision, GiveUp, Treatment
from training.runs.advice import fitting_attempts
from training.runs.doctor_log import Course, replay, signals_line, treatment_line
from training.runs.folder import RunFolder
from training.runs.json_lines import DOCTOR_FILE, append_line, truncate_after
from training.runs.loggers import Logger
from training.runs.logit_probe import LogitProbe

PROBE_INTERVAL = 10
"""Rows from one measurement of held-out logits to the next."""


class RunDoctor:
    """Watches one run. It changes nothing of it: the loop carries out what it proposes."""

    def __init__(self, run: RunFolder, data: TrainingImages, state: TrainingState, loggers: Sequence[Logger]) -> None:
        """Continues from the state: knows of the run what ``doctor.jsonl`` says up to there."""
        self._run, self._state, self._loggers = run, state, loggers
        self._path = run.path / DOCTOR_FILE
        truncate_after(self._path, state.images_seen, state.logged.get(DOCTOR_FILE))
        self._known = replay(run.path, run.config)
        self._probe = LogitProbe(data, run.config, state)
        self._standing = self._names()

    @property
    def _treats(self) -> bool:
        return self._run.config.doctor == "treat"

    def start(self) -> None:
        """Says in the loggers what is found already; the beginning of a run is the first point to return to."""
        if self._standing:
            self._say(self._state.images_seen, {}, "")
        if self._treats and self._state.return_point is None:
            self._state.remember()

    def row(self, images_seen: int, number: int, signals: dict[str, float]) -> None:
        """Takes a row of signals."""
        if self._probe.possible and number % PROBE_INTERVAL == 0:
            signals = {**signals, **self._probe.measure()}
        self._observe(Signals(images_seen, **signals))

    def scored(self, images_seen: int, line: dict[str, Any], noise_score: float | None, new_best: bool) -> None:
        """Takes the scores of the best EMA generator of a scoring."""
        untreated = [course for course in self._known.courses if math.isinf(course.after)]
        self._observe(Signals(images_seen, score=line["fxd"], coverage=line.get("coverage"), noise_score=noise_score))
        if untreated:
            self._report_outcome(images_seen, untreated[-1])
        if self._treats and new_best:
            self._state.remember()

    def saving(self) -> None:
        """Runs before a checkpoint. Without a judge, the newest step at which nothing is wrong is the best one."""
        if self._treats and self._run.config.judge is None and self._known.case.calm:
            self._state.remember()

    def decide(self, images_seen: int) -> Decision | None:
        """Returns a treatment, or the end of the run; None to go on."""
        case = self._known.case
        if self._treats:
            for finding in case.to_treat(images_seen):
                if treatment := self._treatment(finding, images_seen):
                    return self._begin(treatment)
        lost = case.lost(images_seen)
        return self._give_up(images_seen, lost) if lost else None

    def diverged(self, images_seen: int) -> Decision | None:
        """Returns a treatment for weights that are NaN or infinite; None if no treatment is left."""
        if all(finding.condition.name != NOT_FINITE for finding in self._known.case.standing()):
            self._observe(Signals(images_seen, d_loss=math.nan))
        decision = self.decide(images_seen)
        return decision if isinstance(decision, Treatment) else None

    def _observe(self, signals: Signals) -> None:
        append_line(self._path, signals_line(signals))
        for finding in self._known.add_signals(signals):
            self._say(signals.step, finding_event(finding), finding_text(finding, self._state.current_config))
        if self._names() != self._standing:
            self._say(signals.step, {}, "")

    def _names(self) -> list[str]:
        return list(dict.fromkeys(finding.condition.name for finding in self._known.case.standing()))

    def _treatment(self, finding: Finding, images_seen: int) -> Treatment | None:
        tried = {treatment.remedy for treatment in self._state.treatments}
        for remedy in finding.condition.remedies:
            changes = None if remedy in tried else changes_of(remedy, self._state.current_config)
            returned_to = self._return_to(finding, remedy)
            if changes is not None and (changes or returned_to is not None):
                return Treatment(images_seen, finding.condition.name, remedy, changes, returned_to)
        return None

    def _return_to(self, finding: Finding, remedy: str) -> int | None:
        point, judged = self._state.return_point, self._run.config.judge is not None
        broken = finding.condition.name == NOT_FINITE
        if point is None or not (broken or remedy == "roll_back" or not judged or self._known.case.worse):
            return None
        return int(point["images_seen"])

    def _begin(self, treatment: Treatment) -> Treatment:
        append_line(self._path, treatment_line(treatment))
        self._known.add_treatment(treatment)
        line = treatment_line(treatment)["treatment"]
        self._say(treatment.images_seen, {"treatment": line}, f"treatment {self._known.case.treatments}: {treatment}")
        return treatment

    def _give_up(self, images_seen: int, finding: Finding) -> GiveUp:
        count = self._known.case.treatments
        tried = f", after {count} treatment{'s' * (count > 1)}" if count else ""
        reason = f"{finding.condition.title} ({finding.condition.name}){tried}: {finding.evidence}"
        append_line(self._path, {"images_seen": images_seen, "given_up": reason, "condition": finding.condition.name})
        self._say(images_seen, {"given_up": reason}, f"gives the run up: {reason}")
        return GiveUp(reason)

    def _report_outcome(self, images_seen: int, course: Course) -> None:
        event = {"outcome_of": course.treatment.remedy, "score_after": course.after}
        before = "none" if math.isinf(course.before) else f"{course.before:.4g}"
        if not math.isinf(course.before):
            event["score_before"] = course.before
        self._say(images_seen, event, f"after {course.treatment.remedy}: score {before} → {course.after:.4g}")

    def _say(self, images_seen: int, event: dict[str, Any], text: str) -> None:
        self._standing = self._names()
        for logger in self._loggers:
            logger.diagnosis(images_seen, event, text, self._standing)


def finding_event(finding: Finding) -> dict[str, Any]:
    """Returns a finding for programs."""
    return {
        "finding": finding.condition.name,
        "began": finding.began,
        "confidence": finding.confidence,
        "evidence": finding.evidence,
    }


def finding_text(finding: Finding, config: Config) -> str:
    """Returns a finding in a run of these settings, for people."""
    return (
        f"{finding.condition.title} ({finding.condition.name}, {finding.confidence}, since {finding.began} images): "
        f"{finding.evidence}. {finding.condition.advise(fitting_attempts(finding.condition, config))}"
    )
