"""Memory limits around the least that the service needs: it starts, or says why not, and never hangs.

A limit is one of a cgroup, as containers have it. Where this user may make no cgroup, it is one of the address space.
"""

import contextlib
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.serving_faults.graphs import SEEDS, reference, write_zoo
from benchmarks.soak.serving_faults.service import Service, serving
from benchmarks.soak.serving_faults.traffic import RIGHT, Account, References, Traffic

_MB = 2**20
_CGROUPS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),  # version 1
    (Path("/sys/fs/cgroup"), "memory.max"),  # version 2
)
_STEPS = range(60, 201, 20)
_TOO_LITTLE = (110,)  # in the short form, other parts show that it starts with more
_ADDRESS_STEPS = range(200, 701, 100)
_START_SECONDS = 60
_SAID = (
    "was killed by SIGKILL",
    "ended with status",
    "MemoryError",
    "Cannot allocate memory",
    "can't start new thread",
)


def run(smoke: bool, work: Path) -> list[Outcome]:
    """Starts the service with one limit after the other, with traffic if it becomes ready."""
    write_zoo(work / "zoo", "plain")
    plain = {"plain/1": reference(work / "zoo" / "plain" / "1", SEEDS)}
    outcomes = []
    with _cgroup() as group:
        if group is not None:
            steps = _TOO_LITTLE if smoke else tuple(_STEPS)
            outcomes.append(_steps(work, plain, "of the cgroup", steps, group, smoke))
    if not outcomes:
        steps = (250,) if smoke else tuple(_ADDRESS_STEPS)
        outcomes.append(_steps(work, plain, "of the address space", steps, None, smoke))
    return outcomes


def _steps(
    work: Path, plain: References, kind: str, steps: tuple[int, ...], group: "_Group | None", smoke: bool
) -> Outcome:
    ready, said, silent = [], [], []
    total = Account()
    for megabytes in steps:
        limits = {} if group else {resource.RLIMIT_AS: megabytes * _MB}
        wrap = group.limited(megabytes) if group else ()
        home = work / f"{'group' if group else 'space'}-{megabytes}"
        with serving(work / "zoo", home, limits=limits, wrap=wrap) as service:
            account = _use(service, plain)
            total.add(account)
            if account.ends[RIGHT]:
                ready.append(megabytes)
            elif any(word in service.log for word in _SAID) or service.process.poll() is not None:
                said.append(megabytes)
            else:
                silent.append(megabytes)
    happened = f"ready with {_range(ready)}; said why not with {_range(said)}; "
    happened += f"neither with {_range(silent)}; {total}"
    return Outcome(
        f"a memory limit {kind}",
        f"{len(steps)} limits, {_range([*steps])}",
        "the service starts or its log says why not; no wrong image, no request without an end",
        happened,
        bool(said and (smoke or ready)) and not silent and total.all_ended("closed"),
    )


def _use(service: Service, plain: References) -> Account:
    """Waits until the service is ready or has said why not, and sends it traffic."""

    def has_decided() -> bool:
        return service.get("/readyz")[0] == 200 or any(word in service.log for word in _SAID)

    service.wait_for(has_decided, _START_SECONDS)
    if service.get("/readyz")[0] != 200:
        return Account()
    with Traffic(service.port, plain, clients=4) as traffic:
        traffic.wait_for(100, 10)
    return traffic.account


class _Group:
    """A cgroup of this machine for one service."""

    def __init__(self, folder: Path, limit: str) -> None:
        self._folder = folder
        self._limit = folder / limit

    def limited(self, megabytes: int) -> tuple[str, ...]:
        """Sets the limit, and returns the command that starts another one in the group."""
        end = time.monotonic() + 10
        while (self._folder / "cgroup.procs").read_text() and time.monotonic() < end:
            time.sleep(0.05)  # the last service's processes
        self._limit.write_text(str(megabytes * _MB))
        return ("sh", "-c", f'echo $$ > {self._folder}/cgroup.procs; exec "$@"', "sh")


@contextmanager
def _cgroup() -> Iterator[_Group | None]:
    """Makes a group whose memory can be limited; None if this machine has none that this user may make."""
    for root, limit in _CGROUPS:
        folder = root / "figment-soak"
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
            if (folder / limit).exists():
                break
            folder.rmdir()
    else:
        yield None
        return
    try:
        yield _Group(folder, limit)
    finally:
        end = time.monotonic() + 10
        while folder.exists() and time.monotonic() < end:
            with contextlib.suppress(OSError):
                folder.rmdir()
            time.sleep(0.05)


def _range(steps: list[int]) -> str:
    if not steps:
        return "none"
    return f"{min(steps)} … {max(steps)} MB" if len(steps) > 1 else f"{steps[0]} MB"
