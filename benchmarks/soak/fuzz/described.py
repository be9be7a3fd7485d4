"""Schemathesis over an OpenAPI document of a running service."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Described:
    """What a run of schemathesis found."""

    passed: bool
    operations: int
    cases: int
    """Requests."""

    output: str


def run_schemathesis(document: str, examples: int, seed: int, work: Path, checks: str = "all") -> Described:
    """Asks for every operation of the document at an address, with valid and invalid data, and makes all ``checks``."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(_CONFIGURATION), "--no-color"]
    command += ["run", document, "--checks", checks, "--max-examples", str(examples), "--seed", str(seed)]
    command += ["--continue-on-failure"]
    run = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    output = _ESCAPES.sub("", run.stdout + run.stderr)
    return Described(
        run.returncode == 0, _number(r"Tested: (\d+)", output), _number(r"(\d+) generated", output), output
    )


def _number(pattern: str, output: str) -> int:
    found = re.search(pattern, output)
    return int(found[1]) if found else 0
