"""Watches a run row by row, and reports what goes wrong, once each time."""

import math
from dataclasses import dataclass, field

from training.doctor.conditions import CONDITIONS, Condition
from training.doctor.history import History
from training.doctor.rules import RULES, Moment, Reason
from training.doctor.scores import ScoreWatch, overfitting
from training.doctor.signals import KNOWN_LOSSES, Signals, known_loss
from training.doctor.thresholds import CHECK_ROWS, CHECKS_PER_LENGTH, CONFIRMATIONS, MAX_CHECK_ROWS, WARM_UP_ROWS

NOT_FINITE = "not_finite"
SURE, LIKELY, POSSIBLE = "sure", "likely", "possible"
LIKELY_MARGIN = 1.5
"""A value this many times beyond its threshold makes a finding likely rather than possible."""


@dataclass(frozen=True)
class Finding:
    """Something that goes wrong."""

    condition: Condition
    step: int
    """Where the doctor became certain enough to say so."""
    began: int
    """Where the rule began to hold."""
    confidence: str
    evidence: str
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass
class _Watch:
    """Hysteresis of one condition."""

    held: int = 0
    failed: int = 0
    began: int = 0
    reported: bool = False

    def confirmed(self, step: int, holds: bool) -> bool:
        """Takes the outcome of a check. Returns whether a finding begins here."""
        if not holds:
            self.failed, self.held = self.failed + 1, 0
            if self.failed >= CONFIRMATIONS:
                self.reported = False
            return False
        if self.held == 0:
            self.began = step
        self.held, self.failed = self.held + 1, 0
        if self.held < CONFIRMATIONS or self.reported:
            return False
        self.reported = True
        return True


class Doctor:
    """Watches one run. Feed it rows in order; it keeps a bounded number of them."""

    def __init__(self, loss: str) -> None:
        """Takes the name of the loss. For one that ``known_loss`` does not know, only rules without a scale apply."""
        self.loss = known_loss(loss)
        self.rows = 0
        """Rows with both losses."""
        self.findings: list[Finding] = []
        self._d_loss, self._g_loss, self._g_gradient = History(), History(), History()
        self._scores = ScoreWatch()
        self._score_share: float | None = None
        self._next_check = WARM_UP_ROWS
        self._watches = {name: _Watch() for name in CONDITIONS}

    def observe(self, signals: Signals) -> list[Finding]:
        """Takes the next row and returns the findings that it completes, usually none."""
        if fault := signals.non_finite():
            return self._report(NOT_FINITE, signals.step, Reason(fault, {}, math.inf), at_once=True)
        found = []
        if signals.score is not None and signals.noise_score:
            self._score_share = signals.score / signals.noise_score
        if signals.g_gradient is not None:
            self._g_gradient.add(signals.g_gradient)
        if signals.d_loss is not None and signals.g_loss is not None:
            found += self.observe_losses(signals.step, signals.d_loss, signals.g_loss)
        if signals.held_out_logit is not None:
            found += self._report("discriminator_overfits", signals.step, overfitting(signals))
        if signals.score is not None or signals.coverage is not None:
            for name, reason in self._scores.add(signals).items():
                found += self._report(name, signals.step, reason)
        return found

    @property
    def suspicious(self) -> bool:
        """Whether a rule holds at this moment, be it a finding already or not."""
        return any(watch.held for watch in self._watches.values())

    def stands(self, finding: Finding) -> bool:
        """Returns whether what was found is still so."""
        return self._watches[finding.condition.name].reported

    def observe_losses(self, step: int, d_loss: float, g_loss: float) -> list[Finding]:
        """Does what ``observe`` does for a row that has only the losses, faster."""
        if not math.isfinite(d_loss + g_loss):
            return self.observe(Signals(step, d_loss, g_loss))
        self._d_loss.add(d_loss)
        self._g_loss.add(g_loss)
        self.rows += 1
        if self.rows < self._next_check:
            return []
        self._next_check = self.rows + min(max(CHECK_ROWS, self.rows // CHECKS_PER_LENGTH), MAX_CHECK_ROWS)
        return self.check(step, self._moment())

    def _moment(self) -> Moment:
        return Moment(
            self.loss,
            KNOWN_LOSSES[self.loss] if self.loss else (),
            self._d_loss.windows(),
            self._g_loss.windows(),
            self._g_gradient.windows() if len(self._g_gradient) >= WARM_UP_ROWS else None,
            self._score_share,
        )

    def check(self, step: int, moment: Moment) -> list[Finding]:
        """Applies the rules to one moment of the run and returns the findings that it completes."""
        reasons: dict[str, Reason] = {}
        for rule in RULES:
            if rule.condition not in reasons and (reason := rule.reason(moment)):
                reasons[rule.condition] = reason
        checked = dict.fromkeys(rule.condition for rule in RULES)
        return [finding for name in checked for finding in self._report(name, step, reasons.get(name))]

    def _report(self, name: str, step: int, reason: Reason | None, at_once: bool = False) -> list[Finding]:
        watch = self._watches[name]
        begins = watch.confirmed(step, reason is not None)
        if at_once and not watch.reported:
            begins = watch.reported = True
        if not begins or reason is None:
            return []
        confidence = SURE if at_once else LIKELY if reason.margin >= LIKELY_MARGIN else POSSIBLE
        finding = Finding(CONDITIONS[name], step, watch.began, confidence, reason.evidence, reason.numbers)
        self.findings.append(finding)
        return [finding]
