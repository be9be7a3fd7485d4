"""What a check reports: rows of one table."""

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Row:
    """One finding of a check."""

    subject: str
    result: str
    """In words, with figures."""
    status: Status = "passed"
    values: dict[str, Any] = field(default_factory=dict)
    """The figures, for the JSON file."""


def judged(subject: str, passed: bool, result: str, **values: Any) -> Row:
    """Returns a row that has passed or failed."""
    return Row(subject, result, "passed" if passed else "failed", values)


class SkippedError(Exception):
    """A check cannot run here, and that is no failure. The message says what it needs."""
