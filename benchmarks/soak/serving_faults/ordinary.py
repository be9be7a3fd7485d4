"""The faults that one service must survive one after the other, up to an engine that never ends."""

from pathlib import Path

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.serving_faults.bundles import Zoo, bundles_that_change
from benchmarks.soak.serving_faults.clocks import ShiftedClock, clock_jumps
from benchmarks.soak.serving_faults.engines import engine_that_hangs, engines_that_fail
from benchmarks.soak.serving_faults.flood import twice_the_capacity
from benchmarks.soak.serving_faults.graphs import FAULTS, SEEDS, reference, write_zoo
from benchmarks.soak.serving_faults.leaving import clients_that_leave
from benchmarks.soak.serving_faults.service import serving

_SLOW_ROUNDS = 8_000  # so slow that rejections and the clients themselves cost little beside it
_SMOKE_SLOW_ROUNDS = 2_000


def run(smoke: bool, work: Path) -> list[Outcome]:
    """Runs all of them on one service, which reloads its bundles and has a clock that can be shifted."""
    base = work / "base"
    write_zoo(base, "plain", *FAULTS)
    write_zoo(base, "slow", rounds=_SMOKE_SLOW_ROUNDS if smoke else _SLOW_ROUNDS)
    write_zoo(base, "large", tiles=16)
    known = {f"{name}/1": reference(base / name / "1", SEEDS) for name in ("plain", "slow", "raises", "nan")}
    plain, slow = {"plain/1": known["plain/1"]}, {"slow/1": known["slow/1"]}
    zoo, clock = Zoo(work, base), ShiftedClock(work)
    times = 2 if smoke else 50
    deadline, stuck = (3.0, 1.0) if smoke else (5.0, 2.0)
    outcomes: list[Outcome] = []
    with serving(
        zoo.link,
        work / "home",
        variables=clock.variables,
        reload_seconds=0.2,
        deadline_seconds=deadline,
        stuck_seconds=stuck,
        max_batch=8,
        queue_images=16,
    ) as service:
        service.wait_ready()
        outcomes += clients_that_leave(service, plain, times)
        outcomes += engines_that_fail(service, zoo.link, known, times)
        outcomes += bundles_that_change(service, zoo, 1 if smoke else 10)
        outcomes.append(clock_jumps(service, clock, plain, 2 if smoke else 20))
        # On a machine with other work, a few seconds say little about the pace.
        seconds, least = (4.0, 0.5) if smoke else (600.0, 0.9)
        outcomes.append(twice_the_capacity(service, slow, deadline, seconds, least))
        outcomes += engine_that_hangs(service, plain, deadline, stuck)
    return outcomes
