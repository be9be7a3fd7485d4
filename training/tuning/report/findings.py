"""Counts what went wrong in the runs of a study, and which treatments mended it."""

from collections import defaultdict
from dataclasses import dataclass, field

from training.doctor.conditions import CONDITIONS as KNOWN
from training.tuning.study.study import FINDINGS, Study
from training.tuning.trial.findings import CONDITIONS, GIVEN_UP, TREATMENTS


@dataclass
class ConditionRow:
    """A row of the table: one condition."""

    condition: str
    runs: int = 0
    given_up: int = 0
    tried: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    """Remedy → whether it mended the run, of each treatment."""

    @property
    def title(self) -> str:
        """What the condition is, in words."""
        return KNOWN[self.condition].title

    @property
    def remedies(self) -> list[tuple[str, int, int]]:
        """Each remedy, the treatments that mended a run, and all of them."""
        return [(remedy, sum(outcomes), len(outcomes)) for remedy, outcomes in sorted(self.tried.items())]


def findings_table(study: Study) -> list[ConditionRow]:
    """Returns a row for each condition that was found in a trial, a re-run or a final run, the most frequent first."""
    rows: dict[str, ConditionRow] = {}
    for trial in [*study.search.trials, *study.reruns.trials, *study.finals.trials]:
        found = trial.user_attrs.get(FINDINGS)
        if not found:  # it runs, or an earlier version has trained it
            continue
        for condition in found[CONDITIONS]:
            rows.setdefault(condition, ConditionRow(condition)).runs += 1
        for condition, remedy, mended in found[TREATMENTS]:
            rows[condition].tried[remedy].append(mended)
        if found[GIVEN_UP]:
            rows[found[GIVEN_UP]].given_up += 1
    return sorted(rows.values(), key=lambda row: (-row.runs, row.condition))
