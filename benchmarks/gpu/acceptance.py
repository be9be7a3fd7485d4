"""Runs the checks, prints one table and writes one JSON file."""

import json
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.gpu.isolation import Finding, run_checks
from benchmarks.gpu.target import Target
from serving.inference.driver import driver_version
from training.files import write_atomic

CHECKS = {
    name: f"benchmarks.gpu.checks.{name}"
    for name in ("driver", "provider", "images", "buckets", "cuda_graphs", "steps", "resume", "export", "nccl")
}
"""Name → module. The order is that of the table: what must work first comes first."""

_PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "onnxscript", "pydantic", "torch")
_STYLES = {"passed": "green", "failed": "bold red", "skipped": "yellow"}


def accept(names: Sequence[str], target: Target, file: Path) -> bool:
    """Runs checks and returns whether none failed and one at least passed. Without a GPU, says so and returns False."""
    if target.device == "cuda" and driver_version() is None:
        print("This machine has no NVIDIA GPU, or no driver for it: neither /proc nor nvidia-smi names one.")
        return False
    began = time.monotonic()
    findings: list[Finding] = []
    for finding in run_checks({name: CHECKS[name] for name in names}, target):
        findings.append(finding)
        print(f"{finding.check}: {finding.row.subject}: {finding.row.status}", file=sys.stderr, flush=True)
        # Each time, so a machine that goes away leaves what it has shown.
        write_atomic(file, (json.dumps(_document(findings, target, began), indent=2) + "\n").encode())
    _print(findings, target)
    counts = {status: sum(finding.row.status == status for finding in findings) for status in _STYLES}
    counted = ", ".join(f"{count} {status}" for status, count in counts.items())
    verdict = "Passed" if _passed(findings) else "Failed"
    print(f"{verdict}: {counted}, in {time.monotonic() - began:.0f} s. {file} has every figure.")
    return _passed(findings)


def _passed(findings: Sequence[Finding]) -> bool:
    """Returns whether nothing failed, and not everything was skipped."""
    statuses = {finding.row.status for finding in findings}
    return "failed" not in statuses and "passed" in statuses


def _print(findings: Sequence[Finding], target: Target) -> None:
    title = "GPU acceptance" if target.device == "cuda" else "GPU acceptance, rehearsed on the CPU"
    table = Table("check", "of", "status", "result", title=title)
    before = None
    for finding in findings:
        row = finding.row
        if before not in (None, finding.check):
            table.add_section()
        table.add_row(
            "" if before == finding.check else finding.check,
            Text(row.subject),  # no markup: a message may hold brackets
            Text(row.status, _STYLES[row.status]),
            Text(row.result),
        )
        before = finding.check
    console = Console()
    console.width = max(console.width, 120)  # a log has no width, and 80 columns would break every line
    console.print(table)


def _document(findings: Sequence[Finding], target: Target, began: float) -> dict[str, Any]:
    return {
        "device": target.device,
        "passed": _passed(findings),
        "seconds": time.monotonic() - began,
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "rows": [
            {
                "check": finding.check,
                "of": finding.row.subject,
                "status": finding.row.status,
                "result": finding.row.result,
                "seconds": finding.seconds,
                **finding.row.values,
            }
            for finding in findings
        ],
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
