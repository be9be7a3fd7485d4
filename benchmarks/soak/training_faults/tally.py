"""Plans kills evenly over the phases of a command, and counts which phases they struck."""

import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.training_faults.phases import Aim, Segment

_TRIES = 8
"""Tries of each planned kill: the speed of the machine varies, and a kill may come too late."""


@dataclass(frozen=True)
class Plan:
    """A kill that is to strike one phase of a command."""

    command: str
    aim: Aim
    tries_left: int = _TRIES

    @property
    def target(self) -> str:
        """The command and its phase."""
        return f"{self.command}: {self.aim.phase}"


def plan(
    command: str, segments: Sequence[Segment], each: int, chance: random.Random, phases: Sequence[str] = ()
) -> deque[Plan]:
    """Returns ``each`` kills for every phase of an undisturbed command, or for those of ``phases``, in random order."""
    parts: dict[str, list[Segment]] = {}
    for segment in segments:
        if not phases or segment.phase in phases:
            parts.setdefault(segment.phase, []).append(segment)
    plans = [Plan(command, aim_at(choices, chance)) for choices in parts.values() for _ in range(each)]
    chance.shuffle(plans)
    return deque(plans)


def aim_at(choices: Sequence[Segment], chance: random.Random) -> Aim:
    """Returns a moment that is uniform over the time of the segments."""
    (chosen,) = chance.choices(choices, [segment.seconds for segment in choices])
    return Aim(chosen.phase, chosen.entry, chance.random() * chosen.seconds)


@dataclass
class Tally:
    """What happened."""

    struck: Counter[str] = field(default_factory=Counter)
    """Command and phase → the kills that struck it."""
    planned: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    compared: int = 0
    """Results that were compared with undisturbed ones."""

    def expect(self, plans: deque[Plan]) -> None:
        """Adds planned kills: fewer that strike are a problem."""
        self.planned.update(each.target for each in plans)

    def strike(self, target: str, plans: deque[Plan], planned: Plan) -> None:
        """Counts a kill, and plans it again if it has struck another phase."""
        self.struck[target] += 1
        if target != planned.target:
            self.miss(plans, planned)

    def miss(self, plans: deque[Plan], planned: Plan) -> None:
        """Plans a kill again that has come too late, and earlier in its phase each time."""
        if planned.tries_left > 1:
            aim = Aim(planned.aim.phase, planned.aim.entry, planned.aim.seconds / 2)
            plans.append(Plan(planned.command, aim, planned.tries_left - 1))

    def outcome(self, fault: str, promised: str, compared: str) -> Outcome:
        """Returns the row. It fails if fewer kills than planned have struck a phase, and if nothing was compared."""
        short = [target for target, count in self.planned.items() if self.struck[target] < count]
        problems = [*self.problems, *(f"too few kills struck {target}" for target in short)]
        where = ", ".join(f"{target} {count}" for target, count in sorted(self.struck.items()))
        told = "; ".join(problem[:300] for problem in problems[:4]) or "as promised"
        return Outcome(
            fault=fault,
            tried=f"{self.struck.total()} times",
            promised=promised,
            happened=f"{told}; {self.compared} {compared} compared. Struck: {where}",
            kept=not problems and self.compared > 0,
        )
