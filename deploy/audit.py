"""Reads serving/audit.toml, the findings of ``pip-audit`` that do not concern the service, for ``make audit``.

    python deploy/audit.py

prints pip-audit's options that pass over them. Exits with one sentence if an entry is incomplete, over its date, or
about a package that the image does not have.
"""

import re
import sys
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

_SERVING = Path(__file__).resolve().parents[1] / "serving"
FINDINGS = _SERVING / "audit.toml"
LOCKS = (_SERVING / "lock-cpu.txt", _SERVING / "lock-gpu.txt")

_MEMBERS: dict[str, type] = {"id": str, "package": str, "reason": str, "until": date}


def locked_packages() -> set[str]:
    """Returns the names of all packages of the images, as PyPI normalises them."""
    return {_normalised(name) for lock in LOCKS for name in re.findall(r"^([\w.-]+)==", lock.read_text(), re.MULTILINE)}


def read_ids(text: str, packages: set[str], today: date) -> list[str]:
    """Returns the ids of the findings of a TOML document. Raises ``ValueError`` with one sentence for a bad entry."""
    document = tomllib.loads(text)
    if unknown := document.keys() - {"finding"}:
        raise ValueError(f"there is no {sorted(unknown)[0]!r}, only entries [[finding]]")
    return [_checked_id(entry, packages, today) for entry in document.get("finding", [])]


def _checked_id(entry: dict[str, Any], packages: set[str], today: date) -> str:
    name = entry.get("id", "an entry")
    for member, kind in _MEMBERS.items():
        if type(entry.get(member)) is not kind or entry[member] == "":
            example = "a date like 2026-12-31" if kind is date else "a text"
            raise ValueError(f"{name}: {member} is needed, {example}")
    if unknown := entry.keys() - _MEMBERS.keys():
        raise ValueError(f"{name}: there is no member {sorted(unknown)[0]!r}, only {', '.join(_MEMBERS)}")
    if _normalised(entry["package"]) not in packages:
        raise ValueError(f"{name}: {entry['package']} is in no lock; remove the entry")
    if entry["until"] < today:
        raise ValueError(f"{name}: its date, {entry['until']}, is over; look at the finding again")
    return str(entry["id"])


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    try:
        ids = read_ids(FINDINGS.read_text(), locked_packages(), date.today())
    except ValueError as error:
        sys.exit(f"{FINDINGS.relative_to(_SERVING.parent)}: {error}.")
    print(*(f"--ignore-vuln {finding}" for finding in ids))
