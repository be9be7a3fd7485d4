"""Reads and writes JSON lines: a run's metrics, its scores, and its changes of settings."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from training.files import atomic_file, named_errors

METRICS_FILE = "metrics.jsonl"
SCORES_FILE = "scores.jsonl"
DOCTOR_FILE = "doctor.jsonl"
LOG_FILES = (METRICS_FILE, SCORES_FILE, DOCTOR_FILE)
"""Files of a run that grow. A checkpoint knows how many lines each had, and a resumed run cuts them to that."""

Line = dict[str, Any]


def read_lines(path: Path) -> list[Line]:
    """Returns every line; none if the file does not exist. Raises ``ValueError`` for a line that is no JSON."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append_line(path: Path, line: Line) -> None:
    """Adds a line at the end."""
    with named_errors(path), path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def write_lines(path: Path, lines: Iterable[Line]) -> None:
    """Replaces the whole file."""
    with atomic_file(path, one_writer=True) as file:
        file.writelines(json.dumps(line).encode() + b"\n" for line in lines)


def count_lines(path: Path) -> int:
    """Returns the number of whole lines; 0 if the file does not exist."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def truncate_after(path: Path, images_seen: int, lines: int | None = None) -> None:
    """Removes lines from beyond ``images_seen``, and everything from the first torn line on.

    ``lines`` is the most that are kept: what a killed process has added at ``images_seen`` itself is removed, too.
    """
    if not path.exists():
        return
    kept = []
    for text in path.read_text().splitlines()[:lines]:
        try:
            line = json.loads(text)
            if line["images_seen"] <= images_seen:
                kept.append(line)
        except ValueError:
            break
    write_lines(path, kept)
