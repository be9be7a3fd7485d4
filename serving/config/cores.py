"""Counts the cores that this process may use: its CPU affinity, or fewer if a control group (cgroup) limits it."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_PROC = Path("/proc/self")


def usable_cores() -> int:
    """Returns the number of cores that this process may use, at least 1.

    A container with a limit of two cores sees all cores of its machine. One thread for each of them would use up the
    quota early, and stall for the rest of every period.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _cgroup_limits())]))


def _cgroup_limits() -> Iterator[float]:
    """Yields the number of cores that each control group around this process grants (cgroup v2, v1 or both)."""
    try:
        mounts = (_PROC / "mountinfo").read_text().splitlines()
        groups = (_PROC / "cgroup").read_text().splitlines()
    except OSError:
        return
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        root, point = before.split()[3:5]
        kind, *_, options = after.split()
        group = _group_path(groups, kind, options)
        if group is not None:
            read_limit = _read_limit_v2 if kind == "cgroup2" else _read_limit_v1
            yield from filter(None, map(read_limit, _group_folders(Path(point), root, group)))


def _group_path(groups: list[str], kind: str, options: str) -> str | None:
    """Returns the path of this process's group in a mounted hierarchy, or ``None`` if it has no CPU controller."""
    for line in groups:
        number, controllers, path = line.split(":", 2)
        is_version_2 = number == "0" and not controllers
        if kind == "cgroup2" and is_version_2:
            return path
        if kind == "cgroup" and "cpu" in options.split(",") and "cpu" in controllers.split(","):
            return path
    return None


def _group_folders(point: Path, root: str, group: str) -> Iterator[Path]:
    """Yields the folders of a group and its parents, below the mount point.

    A container may see its own group as the root of the mount, while the group's path is that of the machine.
    """
    path = PurePosixPath(group)
    inside = path.relative_to(root) if path.is_relative_to(root) else PurePosixPath(group.lstrip("/"))
    yield from (point / folder for folder in (inside, *inside.parents) if ".." not in folder.parts)


def _read_limit_v2(folder: Path) -> float | None:
    try:
        # Microseconds of quota (or "max") in a period of microseconds.
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _read_limit_v1(folder: Path) -> float | None:
    try:
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
