"""A full disk under the log and the metrics, and one that cannot be written."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.serving_faults.graphs import SEEDS, reference, write_zoo
from benchmarks.soak.serving_faults.service import serving
from benchmarks.soak.serving_faults.traffic import References, Traffic

_PATHS = ("/metrics", "/models", "/images/plain/1.png", "/readyz", "/livez", "/docs")
_DISK = "2m"


def run(smoke: bool, work: Path) -> list[Outcome]:
    """Serves with a home on small disks. Needs the right to mount: else there is one row that says so."""
    write_zoo(work / "zoo", "plain")
    plain = {"plain/1": reference(work / "zoo" / "plain" / "1", SEEDS)}
    try:
        with _disk(work / "probe"):
            pass
    except (OSError, subprocess.CalledProcessError):
        return [Outcome("a full disk", "not at all", "as with room", "this user may not mount a disk", False)]
    outcomes = [
        _full(work, plain, workers, at_start, 1 if smoke else 5)
        for workers, at_start in ([(2, False)] if smoke else [(1, False), (2, False), (2, True)])
    ]
    return [*outcomes, _read_only(work)]


def _full(work: Path, plain: References, workers: int, at_start: bool, times: int) -> Outcome:
    kept, statuses = 0, set()
    with _disk(work / "disk") as disk, _disk(work / "models") as models:
        shutil.copytree(work / "zoo" / "plain", models / "plain")
        _remount_read_only(models)
        if at_start:
            disk.joinpath("prometheus_multiproc_dir").mkdir()
            _fill(disk)
        with serving(models, disk, log=disk / "log", workers=workers, log_format="json") as service:
            service.wait_ready()
            before = {worker.pid for worker in service.workers()}
            with Traffic(service.port, plain, clients=4) as traffic:
                for _ in range(times):
                    filled = _fill(disk)
                    statuses |= {service.get(path)[0] for path in _PATHS}
                    kept += filled and traffic.wait_for(50)
                    (disk / "filling").unlink()
                    traffic.wait_for(10)
            same = before == {worker.pid for worker in service.workers()}
    return Outcome(
        f"a full disk under the log and the metrics{' from the start' * at_start}, a read-only one under the bundles, "
        f"{workers} worker{'s' * (workers > 1)}",
        f"{times} times",
        "requests are answered as before; lines of the log and metrics may be missing",
        f"{kept} times served while full; other routes: {sorted(statuses)}; {traffic.account}; "
        f"{'no worker' if same else 'a WORKER'} ended",
        kept == times and statuses == {200} and traffic.account.all_ended() and same,
    )


def _read_only(work: Path) -> Outcome:
    with _disk(work / "home") as home:
        _remount_read_only(home)
        with serving(work / "zoo", home, log=work / "log") as service:
            ended = service.wait_for(lambda: service.process.poll() is not None, 30)
            said = str(home) in service.log.strip().splitlines()[-1] and "Read-only" in service.log
    return Outcome(
        "a read-only disk under BENTOML_HOME",
        "once",
        "the start ends with an error that names the folder",
        f"{'ended' if ended else 'did NOT end'} with exit code {service.process.returncode}, and the folder was "
        f"{'' if said else 'NOT '}named",
        ended and said and service.process.returncode not in (0, None),
    )


def _fill(disk: Path) -> bool:
    """Writes until the disk is full; returns whether it is."""
    with (disk / "filling").open("ab", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError:
            return shutil.disk_usage(disk).free == 0


@contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    """Mounts an empty disk of 2 MB in memory."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", folder], check=True, capture_output=True)
    try:
        yield folder
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run(["umount", "-l", folder], check=True, capture_output=True)
        folder.rmdir()


def _remount_read_only(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True, capture_output=True)
