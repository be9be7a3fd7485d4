"""Runs attempts, many at once, with honest traffic beside them, and counts what happened."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from benchmarks.serving.servers import Server
from benchmarks.soak.fuzz import clients, framing, noise
from benchmarks.soak.fuzz.attempt import Attempt, Ids, Leave, Then
from benchmarks.soak.fuzz.footprint import connections
from benchmarks.soak.fuzz.framing import HONEST, SplitPackets, answer_to
from benchmarks.soak.fuzz.known import MANY_IMAGES, Known
from benchmarks.soak.fuzz.play import Played, judge, play, was_late

AT_ONCE = 64
_HONEST_CLIENTS = 2
_SLACK = 20.0
"""Seconds beyond the service's own time limits: this machine may be busy."""

_HONEST_NUMBERS = 50_000_000
"""Attempts of honest clients have numbers from here on, so that no two identifiers are the same."""

Maker = Callable[[Random, Ids, int], Attempt]


@dataclass
class Tally:
    """What happened to the attempts of one kind."""

    attempts: int = 0
    requests: int = 0
    answers: int = 0
    compared: int = 0
    """Answers that equal the known ones, byte for byte."""

    ended: int = 0
    """Connections that the service ended."""

    late: int = 0
    """Clients that this machine did not let send in time, so that nothing follows from what they got."""

    statuses: Counter[int] = field(default_factory=Counter)
    places: set[tuple[int, int]] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)


class Campaign:
    """All attempts of a run against one service. Every attempt follows from the seed and its number."""

    def __init__(
        self, server: Server, known: Sequence[Known], seed: int, deadline: float, keep_alive: float, crowd: int = 0
    ) -> None:
        """``crowd`` is the number of clients that ask for many images all the time, to fill the service's queue."""
        self.tallies: dict[str, Tally] = {}
        self._server, self._known, self._seed = server, known, seed
        self._deadline = deadline
        self._honest = 0
        self._crowd = crowd
        self._keep_alive = keep_alive
        self._held: list[tuple[Attempt, Played]] = []
        self.split = SplitPackets(known)
        self._makers: dict[str, Maker] = {
            "split": self.split,
            "lengths": lambda random, ids, _: framing.wrong_length(random, ids, known),
            "chunks": lambda random, ids, _: framing.wrong_chunks(random, ids, known),
            "pipelined": lambda random, ids, _: framing.pipelined(random, ids, known),
            "empty": lambda random, ids, _: framing.with_empty_lines(random, ids, known),
            "garbage": lambda random, ids, _: framing.garbage_behind(random, ids, known),
            "upgrade": lambda random, ids, _: framing.upgrade_offer(random, ids, known),
            "paths": lambda random, ids, _: noise.unknown_path(random, ids, known),
            "damaged": lambda random, ids, _: noise.damaged(random, ids, known),
            "leaves": lambda random, ids, _: clients.leaves(random, ids, known),
            "slow": lambda random, ids, _: clients.slow(random, ids, known, deadline),
            "silent": lambda random, ids, _: clients.silent(random, ids, known),
            "stays": lambda random, ids, _: clients.stays(random, ids, known),
            "never": lambda random, ids, _: clients.never_reads(random, ids, known, images=64),
        }
        self._done: Counter[str] = Counter()

    @property
    def answered(self) -> int:
        """Returns the number of requests so far, without those of clients that read no answer."""
        return sum(tally.requests for kind, tally in self.tallies.items() if kind != "clients that never read")

    def attempt(self, name: str, number: int) -> Attempt:
        """Returns one attempt of a maker again, as often as one likes."""
        offset = [*self._makers].index(name) * 1_000_000
        return self._makers[name](Random(f"{self._seed}:{name}:{number}"), Ids(offset + number), number)

    def run(self, counts: dict[str, int]) -> None:
        """Makes so many more attempts of each kind, in a random order."""
        chosen = []
        for name, count in counts.items():
            chosen += [(name, number) for number in range(self._done[name], self._done[name] + count)]
            self._done[name] += count
        Random(f"{self._seed}:{len(self.tallies)}:{self.answered}").shuffle(chosen)
        asyncio.run(self._run(chosen))

    async def _run(self, chosen: Iterable[tuple[str, int]]) -> None:
        waiting = iter(chosen)

        async def work() -> None:
            for name, number in waiting:
                await self._try(self.attempt(name, number), f"attempt({name!r}, {number})")

        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for client in range(_HONEST_CLIENTS):
                group.create_task(self._be_honest(client, self._known, over))
            for client in range(self._crowd):
                group.create_task(self._be_honest(_HONEST_CLIENTS + client, [MANY_IMAGES], over))
            await asyncio.gather(*(work() for _ in range(AT_ONCE)))
            over.set()
        await self._await_end_of_held()

    async def _be_honest(self, client: int, known: Sequence[Known], over: asyncio.Event) -> None:
        """Sends known requests, one or two on a connection, as long as the attempts run."""
        while not over.is_set():
            number = _HONEST_NUMBERS + client * 5_000_000 + self._honest
            self._honest += 1
            random, ids = Random(f"{self._seed}:honest:{number}"), Ids(number)
            requests = random.choices(known, k=random.choice([1, 1, 2]))
            expected, data = [], b""
            for request in requests:
                request_id = next(ids)
                data += request.whole(request_id)
                expected.append(answer_to(request, request_id))
            attempt = Attempt("honest requests", (data,), Then.OPEN, tuple(expected), requests=len(requests))
            await self._try(attempt, f"honest {number}")

    async def _try(self, attempt: Attempt, name: str) -> None:
        played = await play(self._server.port, attempt, self._limit(attempt))
        tally = self.tallies.setdefault(attempt.kind, Tally())
        tally.attempts += 1
        tally.requests += attempt.requests
        tally.answers += len(played.answers)
        tally.ended += played.ended
        tally.statuses.update(answer.status for answer in played.answers)
        if attempt.place is not None:
            tally.places.add(attempt.place)
        problem = judge(attempt, played)
        if problem is not None and was_late(attempt, played, min(self._deadline, self._keep_alive)):
            tally.late += 1
        elif problem is None:
            tally.compared += sum(
                expected.known is not None and answer.status not in HONEST
                for expected, answer in zip(attempt.expected, played.answers, strict=False)
            )
        else:
            self._fail(tally, attempt, name, problem)
        if played.held is not None:
            self._held.append((attempt, played))

    def _limit(self, attempt: Attempt) -> float:
        """Returns the seconds after which an attempt hangs: each of its requests in turn may take the deadline."""
        return self._deadline * (attempt.requests + 1) + self._keep_alive + _SLACK

    async def _await_end_of_held(self) -> None:
        """Waits until the service has ended all connections whose clients do not."""
        end = time.monotonic() + max((self._limit(attempt) for attempt, _ in self._held), default=0)
        ports = {played.port for _, played in self._held}
        while (left := connections(self._server) & ports) and time.monotonic() < end:
            await asyncio.sleep(0.1)
        for attempt, played in self._held:
            tally = self.tallies[attempt.kind]
            tally.ended += played.port not in left
            if played.port in left:
                tally.failures.append("the connection stays")
            assert played.held is not None
            played.held.close()
        self._held.clear()

    def _fail(self, tally: Tally, attempt: Attempt, name: str, problem: str) -> None:
        tally.failures.append(problem)
        if len(tally.failures) <= 10:
            steps = [step.name if isinstance(step, Leave) else step for step in attempt.steps]
            print(f"fuzz: {attempt.kind}, seed {self._seed}, {name}: {problem}\n  {steps}", file=sys.stderr, flush=True)
