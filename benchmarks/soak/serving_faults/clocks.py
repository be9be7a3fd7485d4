"""Jumps of the clock by a day, forward and backward: no deadline, no timeout and no retry may notice."""

import http.client
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.serving_faults.service import Service
from benchmarks.soak.serving_faults.traffic import References, Traffic, ask

_DAY = 86400


class ShiftedClock:
    """A library that shifts the time of day of the processes that load it."""

    def __init__(self, work: Path) -> None:
        """Compiles the library. Raises ``SystemExit`` without a C compiler."""
        compiler = shutil.which("cc")
        if compiler is None:
            raise SystemExit("The fault test of the clock needs a C compiler (apt-get install gcc libc6-dev).")
        self._file, library = work / "shift", work / "clock.so"
        self.set(0)
        source = Path(__file__).with_name("clock.c")
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
        self.variables = {"LD_PRELOAD": str(library), "CLOCK_SHIFT_FILE": str(self._file)}

    def set(self, seconds: int) -> None:
        """Shifts the clock to this number of seconds from the real time."""
        following = self._file.with_suffix(".new")
        following.write_text(str(seconds))
        following.replace(self._file)


def clock_jumps(service: Service, clock: ShiftedClock, references: References, times: int) -> Outcome:
    """Lets the clock of a service jump ``times``, with idle connections and requests in the queue at each jump.

    The service must have been started with ``clock.variables``, and must poll its bundles.
    """
    struck, idle_kept, waiting, answered = 0, 0, 0, 0
    with Traffic(service.port, references, clients=2) as traffic:
        traffic.wait_for(5)
        for number in range(times):
            idle = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
            idle.request("GET", "/livez")
            idle.getresponse().read()
            shift = (_DAY, 0, -_DAY, 0)[number % 4]
            with ThreadPoolExecutor(1) as pool:
                long = pool.submit(ask, service.port, "application/x-npy", model="slow", count=64)
                # A request that was done before the queue was looked at has not been waiting during the jump.
                waiting += service.wait_for(lambda: service.metric("figment_queued_images", model="slow") > 0, 1)
                clock.set(shift)
                answered += long.result()[0] == 200
            struck += service.wait_for(partial(_sees, service, shift), 10)
            try:
                idle.request("GET", "/livez")
                idle_kept += idle.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                pass
            idle.close()
            traffic.wait_for(5)
    clock.set(0)
    return Outcome(
        "the clock jumps by a day, forward and backward",
        f"{times} jumps",
        "no deadline, timeout or idle connection notices",
        f"the service saw {struck}; {idle_kept} idle connections were kept, {answered} requests of 64 images answered, "
        f"of which {waiting} were waiting at the jump; "
        f"others: {traffic.account}",
        struck == idle_kept == answered == times and 2 * waiting >= times and traffic.account.all_ended(),
    )


def _sees(service: Service, shift: int) -> bool:
    """Returns whether the service's own time of day, at its last poll, has the shift."""
    return abs(service.metric("figment_reload_last_success_timestamp_seconds") - time.time() - shift) < _DAY / 4
