"""The short form of the faults in serving: each strikes, and every promise is kept."""

import os
import shutil
import subprocess

import pytest

from benchmarks.soak import serving_faults


def can_mount() -> bool:
    """Whether this user may mount a small disk, which the program fills."""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return shutil.which("unshare") is not None and not subprocess.run(command, capture_output=True).returncode


@pytest.mark.slow_proof
def test_every_promise_is_kept(tmp_path):
    missing = [name for name, there in (("cc", shutil.which("cc")), ("the right to mount", can_mount())) if not there]
    if missing and not os.environ.get("NOTHING_SKIPPED"):
        pytest.skip(f"there is no {' and no '.join(missing)}")
    outcomes = serving_faults.run(True, tmp_path)
    assert len(outcomes) == 22
    broken = [f"{outcome.fault}: {outcome.happened}" for outcome in outcomes if not outcome.kept]
    assert not broken
