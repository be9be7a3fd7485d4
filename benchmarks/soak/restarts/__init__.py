"""Rolling restarts of two instances behind nginx and HAProxy, with requests all the while: none fails.

Four ways lead to the same two instances: through each proxy as ``deploy/proxy`` configures it, and through each with
its retries switched off. The clients of each way send requests at an even pace while the instances are restarted in
turns, and compare every answer with the bytes that an instance gave for the same seed before.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.generators import tiny, write_generator
from benchmarks.serving.servers import free_port
from benchmarks.soak.outcome import Outcome
from benchmarks.soak.restarts.instance import Instance, Restart
from benchmarks.soak.restarts.proxies import WAYS, Way, haproxy, nginx
from benchmarks.soak.restarts.traffic import Tally, Traffic, references


@dataclass(frozen=True)
class _Plan:
    restarts: int
    requests: int
    """Of each way, at least."""
    linger_seconds: float
    settle_seconds: float
    """From an instance's readiness until the other one is stopped: HAProxy has then seen it twice."""

    @property
    def requests_per_second(self) -> float:
        """Of each way. A restart takes about two seconds beside its linger, and more on a busy machine."""
        return self.requests / (self.restarts * (self.linger_seconds + self.settle_seconds + 2))


_SHORT = _Plan(restarts=1, requests=100, linger_seconds=2, settle_seconds=0.5)
_LONG = _Plan(restarts=20, requests=10_000, linger_seconds=5, settle_seconds=3)


def run(smoke: bool, work: Path) -> list[Outcome]:
    """Restarts two instances in turns under traffic through every way, and reports each way."""
    plan = _SHORT if smoke else _LONG
    write_generator(work / "zoo", "tiny", 1, *tiny())
    with _instances(work, plan) as instances, ExitStack() as proxies:
        ports = [instance.port for instance in instances]
        doors = {way: free_port() for way in WAYS}
        proxies.enter_context(nginx(work / "nginx", ports, {way: doors[way] for way in WAYS if way.proxy == "nginx"}))
        for way in WAYS:
            if way.proxy == "haproxy":
                proxies.enter_context(haproxy(work / way.name, ports, doors[way], retries=way.retries))
        expected = references(instances[0].port)
        traffic = {way: Traffic(door, expected, plan.requests_per_second) for way, door in doors.items()}
        for one in traffic.values():
            proxies.callback(one.finish, 0)  # its threads must not outlive a restart that fails
            one.start()
        restarts = _restart_in_turns(instances, plan)
        tallies = {way: one.finish(plan.requests) for way, one in traffic.items()}
    return [_outcome_of_instances(restarts, plan), *(_outcome(way, tally, plan) for way, tally in tallies.items())]


@contextmanager
def _instances(work: Path, plan: _Plan) -> Iterator[list[Instance]]:
    instances = [Instance(work / "zoo", work / name, plan.linger_seconds) for name in ("first", "second")]
    try:
        for instance in instances:
            instance.start()
        for instance in instances:
            instance.await_ready()
        yield instances
    finally:
        for instance in instances:
            instance.kill()


def _restart_in_turns(instances: list[Instance], plan: _Plan) -> list[Restart]:
    restarts: list[Restart] = []
    for index in range(plan.restarts):
        time.sleep(plan.settle_seconds)
        restarts.append(instances[index % len(instances)].restart())
    return restarts


def _outcome_of_instances(restarts: list[Restart], plan: _Plan) -> Outcome:
    """Reports whether the restarts were what they should be: orderly ends, of instances that were in use."""
    orderly = sum(restart.exit_code == 0 and restart.dropped == 0 for restart in restarts)
    in_use = sum(restart.before > 0 and restart.lingering > 0 for restart in restarts)
    lingering = sum(restart.lingering for restart in restarts)
    seconds = max(restart.seconds for restart in restarts)
    return Outcome(
        fault="SIGTERM to one of two instances in use, which is then started again",
        tried=f"{len(restarts)} times, with {plan.linger_seconds:g} s of linger",
        promised="every one was in use, answers while it lingers, drops nothing and ends with exit code 0",
        happened=f"{in_use} were in use, {orderly} ended so; they answered {lingering} requests while lingering; "
        f"the longest was away for {seconds:.1f} s",
        kept=orderly == in_use == len(restarts) == plan.restarts,
    )


def _outcome(way: Way, tally: Tally, plan: _Plan) -> Outcome:
    enough = tally.sent >= plan.requests
    happened = f"{tally.right} were right, {tally.wrong} wrong, {tally.failed} failed"
    if tally.reasons:
        happened += ": " + ", ".join(f"{count} × {reason}" for reason, count in tally.reasons.most_common(4))
    happened += f"; the slowest took {tally.slowest:.1f} s"
    if way.may_fail:
        kept = enough and tally.wrong == 0 and set(tally.reasons) <= way.may_fail
        promised = f"none is wrong; a failure is {' or '.join(sorted(way.may_fail))}"
    else:
        kept, promised = enough and tally.right == tally.sent, "each is a 200 with the right bytes of its seed"
    return Outcome(
        f"{plan.restarts} rolling restarts behind {way.title}", f"{tally.sent} requests", promised, happened, kept
    )
