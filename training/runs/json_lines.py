"""Reads and writes JSON lines: a run's metrics, its scores, and its changes of settings."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from training.files import atomic_file

Line = dict[str, Any]


def read_lines(path: Path) -> list[Line]:
    """Returns every line; none if the file does not exist. Raises ``ValueError`` for a line that is no JSON."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append_line(path: Path, line: Line) -> None:
    """Adds a line at the end."""
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def write_lines(path: Path, lines: Iterable[Line]) -> None:
    """Replaces the whole file."""
    with atomic_file(path, one_writer=True) as file:
        file.writelines(json.dumps(line).encode() + b"\n" for line in lines)


def truncate_after(path: Path, images_seen: int) -> None:
    """Removes lines from beyond ``images_seen``, and everything from the first torn line on."""
    if not path.exists():
        return
    kept = []
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
            if line["images_seen"] <= images_seen:
                kept.append(line)
        except ValueError:
            break
    write_lines(path, kept)
