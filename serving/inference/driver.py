"""Finds the version of NVIDIA's driver, which is the first suspect if CUDA does not load."""

import re
import subprocess
from pathlib import Path

CUDA_VERSION = 13
"""CUDA's major version that ``onnxruntime-gpu`` of constraints.txt is built with."""
NEEDED_DRIVER = 580
"""The oldest branch of the driver that runs CUDA 13 (NVIDIA, CUDA Toolkit Release Notes, table 2)."""

_KERNEL_MODULE = Path("/proc/driver/nvidia/version")
_SECONDS = 20  # the first call of nvidia-smi wakes a card that sleeps


def describe_driver() -> str:
    """Returns in words which driver is found and which one is needed."""
    return f"NVIDIA driver: {driver_version() or 'none found'}; CUDA {CUDA_VERSION} needs {NEEDED_DRIVER} or newer"


def driver_version() -> str | None:
    """Returns the driver's version such as ``580.95.05``, or None without a driver that this process can see."""
    try:
        # A container has this file without the tools of the driver.
        found = re.search(r"\s(\d{3,}\.\d[\d.]*)\s", _KERNEL_MODULE.read_text())
    except OSError:
        found = None
    if found:
        return found[1]
    cards = query_cards("driver_version")
    return cards[0][0] if cards else None


def is_new_enough(version: str) -> bool:
    """Returns whether a driver of this version runs the CUDA version that is needed."""
    branch = version.partition(".")[0]
    return branch.isdecimal() and int(branch) >= NEEDED_DRIVER


def query_cards(*fields: str) -> list[list[str]]:
    """Returns the values of nvidia-smi's fields for each card; no cards if nvidia-smi is missing or fails."""
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [[value.strip() for value in line.split(",")] for line in done.stdout.splitlines()]
    return [values for values in lines if len(values) == len(fields)]
