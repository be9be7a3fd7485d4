"""Rules on what is measured seldom: a judge's scores, and the discriminator's logits of images that it never sees."""

import math

from training.doctor import thresholds as limit
from training.doctor.rules import Reason
from training.doctor.signals import Signals


class ScoreWatch:
    """Compares each score with the best one so far."""

    def __init__(self) -> None:
        self._best, self._best_step = math.inf, 0
        self._coverage, self._coverage_step = 0.0, 0

    def add(self, signals: Signals) -> dict[str, Reason | None]:
        """Takes a scoring and returns, for each condition that it can show, the reason or None."""
        reasons: dict[str, Reason | None] = {}
        if signals.score is not None:
            reasons["late_degradation"] = self._degraded(signals.score)
            if signals.score < self._best:
                self._best, self._best_step = signals.score, signals.step
        if signals.coverage is not None:
            reasons["mode_collapse"] = self._collapsed(signals.coverage)
            if signals.coverage > self._coverage:
                self._coverage, self._coverage_step = signals.coverage, signals.step
        return reasons

    def _degraded(self, score: float) -> Reason | None:
        if score <= limit.DEGRADED * self._best:
            return None
        return Reason(
            f"the score is {score:.4g}; the best was {self._best:.4g} at {self._best_step}",
            {"score": score, "best": self._best, "best_step": self._best_step},
            score / (limit.DEGRADED * self._best) if self._best > 0 else math.inf,
        )

    def _collapsed(self, coverage: float) -> Reason | None:
        if self._coverage < limit.MIN_COVERAGE or coverage >= limit.LOST_COVERAGE * self._coverage:
            return None
        return Reason(
            f"coverage is {coverage:.3f}; the best was {self._coverage:.3f} at {self._coverage_step}",
            {"coverage": coverage, "best": self._coverage, "best_step": self._coverage_step},
            limit.LOST_COVERAGE * self._coverage / max(coverage, 1e-9),
        )


def overfitting(signals: Signals) -> Reason | None:
    """Returns why the discriminator overfits, by its logits (r_v of Karras et al. 2020, equation 1); None if not."""
    train, held_out, fake = signals.train_logit, signals.held_out_logit, signals.fake_logit
    if train is None or held_out is None or fake is None or train - fake < limit.TOLD_APART:
        return None
    gap = (train - held_out) / (train - fake)
    if gap <= limit.GENERALISATION_GAP:
        return None
    return Reason(
        f"held-out images get logits {gap:.0%} of the way from training images to generated ones "
        f"({train:.3g}, {held_out:.3g}, {fake:.3g})",
        {"gap": gap, "train_logit": train, "held_out_logit": held_out, "fake_logit": fake},
        gap / limit.GENERALISATION_GAP,
    )
