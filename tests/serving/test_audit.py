"""A known vulnerability is passed over only with a reason, for a time, and for a package that the image has."""

import os
import subprocess
import sys
from datetime import date

import pytest

from deploy import audit

PACKAGES = {"aiohttp", "tomli-w"}
TODAY = date(2026, 12, 1)
ENTRY = (
    '[[finding]]\nid = "PYSEC-1"\npackage = "aiohttp"\nreason = "The service opens no client."\nuntil = 2026-12-31\n'
)


def test_explained_findings_are_passed_over():
    second = ENTRY.replace("PYSEC-1", "GHSA-2").replace("aiohttp", "Tomli_W")
    assert audit.read_ids(ENTRY + second, PACKAGES, TODAY) == ["PYSEC-1", "GHSA-2"]
    assert audit.read_ids("# nothing is known", PACKAGES, TODAY) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('id = "PYSEC-1"\n', "", "an entry: id is needed, a text"),
        ('reason = "The service opens no client."\n', "", "PYSEC-1: reason is needed, a text"),
        ("The service opens no client.", "", "PYSEC-1: reason is needed, a text"),
        ("2026-12-31", '"soon"', "PYSEC-1: until is needed, a date like 2026-12-31"),
        ("until", "untill", "PYSEC-1: until is needed"),
        ('package = "aiohttp"', 'package = "torch"', "PYSEC-1: torch is in no lock; remove the entry"),
        ("2026-12-31", "2026-11-30", "PYSEC-1: its date, 2026-11-30, is over; look at the finding again"),
        ("reason", 'severity = "low"\nreason', "PYSEC-1: there is no member 'severity'"),
        ("[[finding]]", "[[findings]]", "there is no 'findings'"),
    ],
)
def test_a_bad_entry_is_an_error(old, new, problem):
    with pytest.raises(ValueError, match=problem):
        audit.read_ids(ENTRY.replace(old, new), PACKAGES, TODAY)


def test_the_findings_of_the_project_are_explained():
    """On any day: a test must not fail because time has passed. ``make audit`` does."""
    ids = audit.read_ids(audit.FINDINGS.read_text(), audit.locked_packages(), date.min)
    assert len(ids) == len({*ids})
    assert {"aiohttp", "bentoml", "onnxruntime", "onnxruntime-gpu"} <= audit.locked_packages()


def test_make_audit_passes_them_to_pip_audit(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "python").symlink_to(sys.executable)
    (tools / "pip-audit").write_text('#!/bin/sh\necho "$@"\n')
    (tools / "pip-audit").chmod(0o755)
    command = ["make", "--silent", "--old-file=.venv-tools/made", "audit", f"TOOLS={tools}", f"PYTHON={sys.executable}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, cwd=audit.FINDINGS.parents[1], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[-1] for line in lines] == [
        "serving/lock-cpu.txt",
        "serving/lock-gpu.txt",
        "serving/lock-remote.txt",
    ]
    ids = audit.read_ids(audit.FINDINGS.read_text(), audit.locked_packages(), date.min)
    assert all(f"--ignore-vuln {finding}" in line for line in lines for finding in ids)
    assert all("--strict" in line for line in lines)
