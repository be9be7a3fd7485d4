"""A run under observation: what was found, whether the judge confirms it, and what became of it after a treatment."""

import math
from statistics import median

from training.doctor import thresholds as limit
from training.doctor.doctor import NOT_FINITE, Doctor, Finding
from training.doctor.signals import Signals


class Case:
    """Follows one run through its treatments.

    A finding by losses alone may be a false alarm. So where the run has a judge, a finding counts once the scores since
    it began confirm it, and a new best score ends it unless that is near noise. Without a judge it counts once it has
    stood for long enough.
    """

    def __init__(self, loss: str, judged: bool) -> None:
        """Takes the name of the loss, and whether the run is scored."""
        self._loss, self._judged = loss, judged
        self._doctor = Doctor(loss)
        self._signals: list[Signals] = []
        self._open: list[Finding] = []
        self._scores: list[tuple[int, float]] = []
        self._bad_scores: list[int] = []
        self._stuck = False
        self._treated_at = 0
        self.best = math.inf
        """The best score so far."""
        self.latest = math.inf
        """The latest score."""
        self.treatments = 0
        self.findings: list[Finding] = []
        """Everything found so far, before treatments as well."""

    @property
    def rows(self) -> int:
        """Rows with both losses, without those that a treatment has undone."""
        return self._doctor.rows

    @property
    def calm(self) -> bool:
        """Whether nothing is found, and no rule holds at this moment."""
        return not (self._open or self._doctor.suspicious)

    @property
    def worse(self) -> bool:
        """Whether the latest score is worse than the best one."""
        return self.latest > limit.WORSE_SCORE * self.best

    def observe(self, signals: Signals) -> list[Finding]:
        """Takes the next signals and returns the findings that they complete."""
        self._signals.append(signals)
        found = self._doctor.observe(signals)
        self.findings += found
        self._open += found
        if signals.score is not None:
            self._compare(signals.step, signals.score, signals.noise_score)
        if not self._judged:
            self._open = [finding for finding in self._open if self._doctor.stands(finding)]
        return found

    def treated(self, step: int, returned_to: int | None) -> None:
        """Begins a new observation after a treatment. ``returned_to`` is the step whose networks the run goes on with.

        What came after that step is forgotten, because the run that it came from no longer exists.
        """
        self.treatments += 1
        self._treated_at = step
        self._bad_scores.clear()
        if returned_to is None:
            return
        self._open.clear()
        self._scores = [(scored, score) for scored, score in self._scores if scored <= returned_to]
        self._signals = [signals for signals in self._signals if signals.step <= returned_to]
        self._doctor = Doctor(self._loss)
        for signals in self._signals:
            self._doctor.observe(signals)

    def standing(self) -> list[Finding]:
        """Returns the findings that nothing has ended yet."""
        return list(self._open)

    def to_treat(self, step: int) -> list[Finding]:
        """Returns the findings that call for a treatment, in the order in which they were found."""
        if self.treatments >= limit.MAX_TREATMENTS:
            return []
        return self._confirmed(step, limit.TREATED_SCORES, limit.TREATED_SHARE)

    def lost(self, step: int) -> Finding | None:
        """Returns the finding for which the run is to be given up; None if there is hope.

        NaN and infinity are not among them: the loop ends such a run itself, at once, with an error.
        """
        confirmed = self._confirmed(step, limit.LOST_SCORES, limit.LOST_SHARE)
        return next((finding for finding in confirmed if finding.condition.name != NOT_FINITE), None)

    def _confirmed(self, step: int, scores: int, share: float) -> list[Finding]:
        return [finding for finding in self._open if self._confirms(finding, step, scores, share)]

    def _confirms(self, finding: Finding, step: int, scores: int, share: float) -> bool:
        if finding.condition.name == NOT_FINITE:
            return True
        if self._judged:
            patience = limit.AFTER_TREATMENT if self.treatments else 1
            needed = patience * (scores - 1 if self._stuck else scores)
            return sum(scored >= finding.began for scored in self._bad_scores) >= needed
        return step - max(finding.step, self._treated_at) >= share * step

    def _compare(self, step: int, score: float, noise_score: float | None) -> None:
        """Takes a score. One that is neither bad nor a new best only interrupts a series of bad ones.

        So does one that is far from the best while the run recovers.
        """
        far = noise_score is not None and min(score, self.best) > limit.STUCK_SCORE * noise_score
        self._stuck = far and self._stands_still(score)
        if self._stuck or (score > limit.WORSE_SCORE * self.best and not self._recovers(score)):
            self._bad_scores.append(step)
        else:
            self._bad_scores.clear()
        if score < self.best and not far:
            self._open.clear()
        self._scores.append((step, score))
        self.best, self.latest = min(self.best, score), score

    def _stands_still(self, score: float) -> bool:
        before = [known for _, known in self._scores[-limit.STUCK_SPAN :]]
        return bool(before) and score > limit.STUCK_CHANGE * before[0]

    def _recovers(self, score: float) -> bool:
        """Returns whether a score is clearly better than the one before, or better than most since the best one."""
        best = min(range(len(self._scores)), key=lambda index: self._scores[index][1], default=0)
        since = [known for _, known in self._scores[best + 1 :]]
        return score < limit.RECOVERING * self.latest or (
            len(since) >= limit.RECOVERING_SCORES and score < median(since)
        )
