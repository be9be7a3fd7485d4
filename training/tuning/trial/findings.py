"""What the doctor found in a run, as a study stores it: small enough for an attribute of a trial."""

from pathlib import Path
from typing import Any

from training.runs.doctor_log import replay
from training.runs.folder import RunFolder
from training.runs.json_lines import DOCTOR_FILE

CONDITIONS, TREATMENTS, GIVEN_UP = "conditions", "treatments", "given_up"
"""The keys: names of conditions; condition, remedy and whether it mended the run, of each treatment; the condition for
which the run was given up, or None."""


def findings_of(run: Path) -> dict[str, Any]:
    """Returns the findings of the run in a folder; none if it has ended before its first row."""
    if not (run / DOCTOR_FILE).exists():
        return {CONDITIONS: [], TREATMENTS: [], GIVEN_UP: None}
    known = replay(run, RunFolder.open(run).config)
    return {
        CONDITIONS: sorted({finding.condition.name for finding in known.case.findings}),
        TREATMENTS: [[course.treatment.condition, course.treatment.remedy, course.mended] for course in known.courses],
        GIVEN_UP: known.given_up_for,
    }
