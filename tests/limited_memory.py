"""Runs code in a process of its own that may take a bounded amount of memory more than its imports took."""

import os
import subprocess
import sys
from pathlib import Path

_PROLOGUE = """
import resource, sys
{imports}
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + {megabytes} * 2**20,) * 2)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
"""


def run_limited(imports: str, code: str, megabytes: int, *arguments: str, seconds: float = 120) -> str:
    """Returns what the code prints. Fails if it ends otherwise, or needs more memory than allowed or more time."""
    script = _PROLOGUE.format(imports=imports, megabytes=megabytes) + code
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()
