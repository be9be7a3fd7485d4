"""How many cores this process may use: those it may run on, or fewer where a container's limit is below that."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_PROC = Path("/proc/self")


def usable_cores() -> int:
    """The cores that this process may use, at least 1.

    A container with a limit of two cores sees all of its machine's. With a thread for each, it would use up its share
    in no time, and stand still for the rest of every period.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _limits())]))


def _limits() -> Iterator[float]:
    """The cores that each control group around this process grants, in Linux's version 2 or 1."""
    try:
        mounts = (_PROC / "mountinfo").read_text().splitlines()
        groups = (_PROC / "cgroup").read_text().splitlines()
    except OSError:
        return
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        root, point = before.split()[3:5]
        kind, *_, options = after.split()
        group = _group(groups, kind, options)
        if group is not None:
            limit = _limit_of_version_2 if kind == "cgroup2" else _limit_of_version_1
            yield from filter(None, map(limit, _folders(Path(point), root, group)))


def _group(groups: list[str], kind: str, options: str) -> str | None:
    """The path of this process's group in a hierarchy that is mounted; ``None`` if that limits no processor time."""
    for line in groups:
        number, controllers, path = line.split(":", 2)
        is_version_2 = number == "0" and not controllers
        if kind == "cgroup2" and is_version_2:
            return path
        if kind == "cgroup" and "cpu" in options.split(",") and "cpu" in controllers.split(","):
            return path
    return None


def _folders(point: Path, root: str, group: str) -> Iterator[Path]:
    """The folders of a group and of those around it, as far as they can be seen where the hierarchy is mounted.

    A container may see its own group as the root, though the group's path is that of the whole machine's.
    """
    path = PurePosixPath(group)
    inside = path.relative_to(root) if path.is_relative_to(root) else PurePosixPath(group.lstrip("/"))
    yield from (point / folder for folder in (inside, *inside.parents) if ".." not in folder.parts)


def _limit_of_version_2(folder: Path) -> float | None:
    try:
        # Microseconds in each period, or "max".
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _limit_of_version_1(folder: Path) -> float | None:
    try:
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
