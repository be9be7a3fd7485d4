"""Faults in training: kills, full disks, damaged checkpoints, changing images, two processes on one run.

``kills.py`` and ``bundles.py`` kill, ``full_disk.py`` lets writes fail, ``damage.py`` damages checkpoints,
``data_changes.py`` disturbs images, ``two_processes.py`` starts a second process. Commands run in forks
(``preloaded.py``) whose phase is known (``phases.py``), and the results are compared bit for bit (``compare.py``).
"""

from pathlib import Path

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.training_faults.bundles import kill_bundle_commands
from benchmarks.soak.training_faults.damage import damage_checkpoints
from benchmarks.soak.training_faults.data_changes import change_data
from benchmarks.soak.training_faults.full_disk import compile_shim, fail_each_write
from benchmarks.soak.training_faults.kills import kill_in_phases, kill_real_processes
from benchmarks.soak.training_faults.preloaded import Preloaded
from benchmarks.soak.training_faults.two_processes import start_twice


def run(smoke: bool, work: Path) -> list[Outcome]:
    """Tries every fault; with ``smoke`` one kill, one full disk, and damaged checkpoints."""
    shim = compile_shim(work)
    with Preloaded(work / "control", shim, exports=not smoke) as server:
        if smoke:
            return [
                kill_in_phases(server, work, 1, ("writing a checkpoint",), None),
                *fail_each_write(server, work, {"full": 200}),
                *damage_checkpoints(server, work, None, 20),
            ]
        return [
            kill_in_phases(server, work, 4),
            kill_real_processes(server, work, 25),
            *kill_bundle_commands(server, work, 3, 3),
            *fail_each_write(server, work, {"full": 1, "broken": 3}),
            *damage_checkpoints(server, work, 64, 300),
            *change_data(server, work, ("parquet", "folder"), ("changed", "shortened", "removed")),
            *start_twice(server, work, 3),
        ]
