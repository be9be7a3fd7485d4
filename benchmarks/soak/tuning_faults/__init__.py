"""Attacks on ``tune``: kills, a database that is away, a full disk, two commands on one study, a moved folder.

Every run of a study is compared with the same run without faults: its scores, its learning curve, its result and the
bits of its best generator.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.tuning_faults.checks import Found
from benchmarks.soak.tuning_faults.database import Server, server
from benchmarks.soak.tuning_faults.full_disk import fill_the_disk
from benchmarks.soak.tuning_faults.kills import FINAL, RERUN, RESULT, STARTING, TRIAL, Campaign, Kills, describe
from benchmarks.soak.tuning_faults.outage import take_database_away
from benchmarks.soak.tuning_faults.references import References
from benchmarks.soak.tuning_faults.setting import Setting, Size, own_cache
from benchmarks.soak.tuning_faults.together import start_together

TINY = Size(trials=1, images=480, seeds=0)
SMALL = Size(trials=2, images=480, seeds=0)
FULL = Size(trials=4, images=1600, final_images=2400)
KILLS = 13
"""Kills of each of four kinds of study: 52 in all."""
OUTAGE_SECONDS = 60.0


def run(smoke: bool, work: Path) -> list[Outcome]:
    """Runs all attacks. With ``smoke``, ``tune`` is forked from this process, and each fault strikes once or twice."""
    with own_cache(work / "cache"), server() as database:
        setting = Setting(work, fork=smoke)
        attacks = _Attacks(setting, References(setting), database, random.Random(20))
        return [_told(outcome) for outcome in (attacks.short() if smoke else attacks.long())]


def _told(outcome: Outcome) -> Outcome:
    """Prints an outcome as soon as it is there: the next may take minutes."""
    print(f"{outcome.fault}: {outcome.happened}", file=sys.stderr, flush=True)
    return outcome


class _Attacks:
    def __init__(self, setting: Setting, references: References, database: Server | None, rng: random.Random) -> None:
        self._setting, self._references, self._database, self._rng = setting, references, database, rng

    def short(self) -> Iterator[Outcome]:
        yield self._kills(SMALL, 2, 1, None, aims=(TRIAL, RESULT))
        if self._database:
            yield take_database_away(self._setting, self._references, self._database, TINY, 1, 3.0, 1)
        if (disk := fill_the_disk(self._setting, self._references, TINY, 1, 1, self._rng)) is not None:
            yield disk

    def long(self) -> Iterator[Outcome]:
        setting, references, rng = self._setting, self._references, self._rng
        for storage in [None, self._database.url] if self._database else [None]:
            for workers in (1, 2):
                yield self._kills(FULL, KILLS, workers, storage)
        yield self._kills(FULL, 4, 1, None, moved=True)
        for storage in [None, self._database.url] if self._database else [None]:
            yield start_together(setting, references, Size(trials=6, images=960), storage, 4, rng)
        if self._database:
            yield take_database_away(setting, references, self._database, FULL, 2, OUTAGE_SECONDS, 2)
        for workers in (1, 2):
            if (disk := fill_the_disk(setting, references, SMALL, workers, 6, rng)) is not None:
                yield disk

    def _kills(
        self,
        size: Size,
        count: int,
        workers: int,
        storage: str | None,
        aims: tuple[str, ...] | None = None,
        moved: bool = False,
    ) -> Outcome:
        done, found = Kills(), Found()
        campaign = Campaign(self._setting, self._references, size, storage, workers, moved=moved)
        if aims:
            campaign = Campaign(self._setting, self._references, size, storage, workers, aims, moved)
        name = f"{'moved' if moved else 'killed'}-{'database' if storage else 'file'}-{workers}"
        campaign.run(name, count, self._rng, done, found)
        aimed = {TRIAL} if aims or moved else {STARTING, TRIAL, RERUN, RESULT}
        if aimed != {TRIAL} and workers == 1:  # of two workers, one alone has a final run
            aimed.add(FINAL)
        missed = sorted(aim for aim in aimed if not done.struck[aim])
        problems = [*done.hangs, *done.errors, *found.problems, *(f"no kill struck a {aim}" for aim in missed)]
        happened = (
            f"struck: {describe(done.struck)}; killed: {describe(done.victims)}; {done.starts} starts of "
            f"{done.studies} studies; {found.runs} runs, {found.resumed} of them resumed, equal to the same without "
            f"faults; {found.aside} folders put aside, {found.drafts} temporary files left"
        )
        return Outcome(
            f"SIGKILL in tune with {workers} worker{'s' if workers > 1 else ''}, stored in "
            f"{'PostgreSQL' if storage else 'its file'}{', the folder moved before each start' if moved else ''}",
            f"{done.count} times",
            "each trial counts once, results bit-equal, budget and report right",
            "; ".join([happened, *problems]),
            done.count >= count and found.resumed > 0 and not problems,
        )
