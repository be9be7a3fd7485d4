"""What the doctor has seen of a run, in the order in which it came: ``doctor.jsonl``.

Whoever replays it, a resumed run or ``diagnose``, knows what the doctor knew, exactly: the numbers are those of the
rows, not means over a time that an interruption would shorten.
"""

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from training.config.schema import Config
from training.doctor.case import Case
from training.doctor.doctor import Finding
from training.doctor.signals import Signals
from training.loop.treatment import Treatment
from training.runs.json_lines import DOCTOR_FILE

_SIGNALS = tuple(field.name for field in fields(Signals) if field.name != "step")


@dataclass
class Course:
    """How the score of a run went before and after a treatment."""

    treatment: Treatment
    before: float
    """The latest score before it; infinite without one."""
    best_before: float
    after: float = math.inf
    """The best score since, until the next treatment."""

    @property
    def mended(self) -> bool:
        """Whether the run reached a new best."""
        return self.after < self.best_before


@dataclass
class Replay:
    """A run as the doctor knows it."""

    case: Case
    signals: list[Signals] = field(default_factory=list)
    courses: list[Course] = field(default_factory=list)
    given_up: str | None = None
    """Why the run was given up."""
    given_up_for: str | None = None
    """The condition for which it was."""

    def add_signals(self, signals: Signals) -> list[Finding]:
        """Takes the next row or score."""
        self.signals.append(signals)
        if signals.score is not None and self.courses:
            self.courses[-1].after = min(self.courses[-1].after, signals.score)
        return self.case.observe(signals)

    def add_treatment(self, treatment: Treatment) -> None:
        """Takes a treatment."""
        self.courses.append(Course(treatment, self.case.latest, self.case.best))
        self.case.treated(treatment.images_seen, treatment.returned_to)


def replay(folder: Path, config: Config) -> Replay:
    """Returns what the doctor knows of the run in a folder, up to the first torn line."""
    known, path = Replay(Case(config.loss, judged=config.judge is not None)), folder / DOCTOR_FILE
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            break
        if "treatment" in line:
            known.add_treatment(Treatment(images_seen=line["images_seen"], **line["treatment"]))
        elif "given_up" in line:
            known.given_up, known.given_up_for = line["given_up"], line["condition"]
        else:
            known.add_signals(Signals(line["images_seen"], **{name: line[name] for name in _SIGNALS if name in line}))
    return known


def signals_line(signals: Signals) -> dict[str, Any]:
    """Returns the line of a row or a score."""
    values = {name: value for name in _SIGNALS if (value := getattr(signals, name)) is not None}
    return {"images_seen": signals.step, **values}


def treatment_line(treatment: Treatment) -> dict[str, Any]:
    """Returns the line of a treatment."""
    values = asdict(treatment)
    return {"images_seen": values.pop("images_seen"), "treatment": values}
