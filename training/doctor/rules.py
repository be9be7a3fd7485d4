"""The rules: windows of a run in, a reason out. Each is pure, and holds or does not hold at one moment."""

from collections.abc import Callable
from dataclasses import dataclass

from training.doctor import thresholds as limit
from training.doctor.history import Windows
from training.doctor.signals import LossScale


@dataclass(frozen=True)
class Moment:
    """What is known of a run at one check."""

    loss: str | None
    """A name in ``KNOWN_LOSSES``; None = unknown, so only rules without a scale apply."""
    scales: tuple[LossScale, ...]
    d_loss: Windows
    g_loss: Windows
    g_gradient: Windows | None = None
    """None for a run that does not log it."""
    score_share: float | None = None
    """The latest score over that of noise; None for a run without a judge."""

    @property
    def positive(self) -> bool:
        """Whether the discriminator's loss is one that stays above 0, so that ratios of it have a meaning."""
        return self.loss != "wasserstein" and self.d_loss.early.low >= 0 and self.d_loss.recent.low >= 0


@dataclass(frozen=True)
class Reason:
    """Why a rule holds."""

    evidence: str
    numbers: dict[str, float]
    margin: float
    """How far beyond the threshold: 1 = just at it, 2 = twice."""


@dataclass(frozen=True)
class Rule:
    """One way to recognise a condition."""

    condition: str
    reason: Callable[[Moment], Reason | None]


def _bursts(now: Moment) -> Reason | None:
    if not now.positive:
        return None
    recent, early = now.d_loss.recent, now.d_loss.early
    if recent.spread <= limit.BURSTS * recent.median or recent.median > limit.FALLING * early.median:
        return None
    if now.g_loss.rise() <= 0:  # a discriminator that wins raises the generator's loss; a classifier's loss may fall
        return None
    return Reason(
        f"the discriminator's loss is mostly near {recent.median:.3g}, with bursts up to {recent.high:.3g}; in the "
        f"first half of the run its median was {early.median:.3g}",
        {"median": recent.median, "high": recent.high, "early_median": early.median},
        _margin(recent.spread, limit.BURSTS * recent.median),
    )


def _fallen(now: Moment) -> Reason | None:
    if not now.positive:
        return None
    recent, early = now.d_loss.recent, now.d_loss.early
    if recent.median > limit.FALLEN * early.median:
        return None
    rise = now.g_loss.rise()
    if rise < limit.GENERATOR_RISEN:
        return None
    return Reason(
        f"the discriminator's loss has fallen from {early.median:.3g} to {recent.median:.3g}, while the generator's "
        f"has risen from {now.g_loss.early.median:.3g} to {now.g_loss.recent.median:.3g}",
        {"median": recent.median, "early_median": early.median, "generator_rise": rise},
        _margin(limit.FALLEN * early.median, recent.median),
    )


def _dropped(now: Moment) -> Reason | None:
    latest, before = now.d_loss.latest, now.d_loss.before
    if not now.positive or latest.median > limit.DROPPED * before.median or now.d_loss.shift() > -limit.STANDS_OUT:
        return None
    return Reason(
        f"the discriminator's loss has dropped from {before.median:.3g} to {latest.median:.3g}",
        {"median": latest.median, "median_before": before.median},
        _margin(limit.DROPPED * before.median, latest.median),
    )


def _jumped(now: Moment) -> Reason | None:
    latest, before = now.d_loss.latest, now.d_loss.before
    if not now.positive or latest.median <= limit.JUMPED * before.median or now.d_loss.shift() < limit.STANDS_OUT:
        return None
    # Up to where it cannot tell, a discriminator's loss rises because the generator gets better.
    if latest.median <= max((scale.d_loss for scale in now.scales), default=now.d_loss.early.high):
        return None
    return Reason(
        f"the discriminator's loss has jumped from {before.median:.3g} to {latest.median:.3g}",
        {"median": latest.median, "median_before": before.median},
        _margin(latest.median, limit.JUMPED * before.median),
    )


def _opposite_shift(now: Moment) -> Reason | None:
    if now.loss == "wasserstein":  # its distance shrinks as the images get better, and its level is free
        return None
    discriminator, generator = now.d_loss.shift(), now.g_loss.shift()
    # The other way round, the generator gets better.
    if discriminator > -limit.SHIFTED or generator < limit.GENERATOR_SHIFTED:
        return None
    return Reason(
        f"both losses have left their range: the discriminator's went from {now.d_loss.before.median:.3g} to "
        f"{now.d_loss.latest.median:.3g}, the generator's from {now.g_loss.before.median:.3g} to "
        f"{now.g_loss.latest.median:.3g}",
        {"discriminator_shift": discriminator, "generator_shift": generator},
        _margin(-discriminator, limit.SHIFTED),
    )


def _exploded(now: Moment) -> Reason | None:
    early, recent, rise = now.g_loss.early, now.g_loss.recent, now.g_loss.rise()
    # In units of the spread alone, a large batch would turn a slow rise into an explosion: its spread is small.
    if rise < limit.EXPLODED or recent.median < limit.EXPLODED * max(abs(early.low), abs(early.high)):
        return None
    return Reason(
        f"the generator's loss has risen from {early.median:.3g} to {recent.median:.3g}, {rise:.1f} times its spread",
        {"generator_rise": rise, "median": recent.median, "early_median": early.median},
        _margin(rise, limit.EXPLODED),
    )


def _unbounded(now: Moment) -> Reason | None:
    early, recent = now.d_loss.early, now.d_loss.recent
    size = max(abs(early.low), abs(early.high))
    if abs(recent.median) <= limit.EXPLODED * size:
        return None
    return Reason(
        f"the discriminator's loss has grown from {early.median:.3g} to {recent.median:.3g}",
        {"median": recent.median, "early_median": early.median},
        _margin(abs(recent.median), limit.EXPLODED * size),
    )


def _undecided_critic(now: Moment) -> Reason | None:
    if now.loss != "wasserstein":
        return None
    share, early = (float((values >= 0).mean()) for values in (now.d_loss.recent_values, now.d_loss.early_values))
    # A critic that never was decided, or decides ever better, lags behind a generator that may well learn from it.
    if not early < limit.UNDECIDED_CRITIC <= share:
        return None
    return Reason(
        f"in {share:.0%} of recent rows the critic rates generated images above real ones, so its loss is no distance; "
        f"in the first half of the run it was {early:.0%}",
        {"share": share, "early_share": early},
        _margin(share, limit.UNDECIDED_CRITIC),
    )


def _inverted_critic(now: Moment) -> Reason | None:
    if now.loss != "wasserstein":
        return None
    share = float((now.d_loss.recent_values >= 0).mean())
    if share < limit.INVERTED_CRITIC:
        return None
    return Reason(
        f"the critic's loss is above 0 in {share:.0%} of recent rows: it does not follow the generator",
        {"share": share},
        _margin(share, limit.INVERTED_CRITIC),
    )


def _oscillates(now: Moment) -> Reason | None:
    recent, early = now.d_loss.recent, now.d_loss.early
    steady = limit.FALLING * early.median < recent.median < early.median / limit.FALLING
    above = now.scales and recent.median > limit.OSCILLATING_LEVEL * now.scales[0].d_loss
    if not (now.positive and steady and above) or recent.spread <= limit.BURSTS * recent.median:
        return None
    return Reason(
        f"the discriminator's loss swings between {recent.low:.3g} and {recent.high:.3g} around {recent.median:.3g}",
        {"low": recent.low, "median": recent.median, "high": recent.high},
        _margin(recent.spread, limit.BURSTS * recent.median),
    )


def _cannot_tell(now: Moment) -> Reason | None:
    # Losses alone cannot tell a discriminator that learns nothing from a generator that has won; a score can.
    if now.score_share is None or now.score_share < limit.STUCK_SCORE:
        return None
    discriminator, generator = now.d_loss.recent, now.g_loss.recent
    for scale in now.scales:
        room = limit.AT_EQUILIBRIUM * scale.d_loss
        if all(abs(value - scale.d_loss) < room for value in (discriminator.low, discriminator.high)) and all(
            abs(value - scale.g_loss) < room for value in (generator.low, generator.high)
        ):
            return Reason(
                f"the losses stay at {discriminator.median:.4g} and {generator.median:.4g}, where the discriminator "
                f"cannot tell, and the score is {now.score_share:.0%} of that of noise",
                {"d_loss": discriminator.median, "g_loss": generator.median, "score_share": now.score_share},
                1.0,
            )
    return None


def _worse_than_chance(now: Moment) -> Reason | None:
    # Where the discriminator's loss has more terms, such as a classifier's, it is high and the generator's is not low.
    if not (now.scales and now.positive):
        return None
    discriminator, generator = now.d_loss.recent, now.g_loss.recent
    chance, lost = max(scale.d_loss for scale in now.scales), min(abs(scale.g_loss) for scale in now.scales)
    if discriminator.low < limit.WORSE_THAN_CHANCE * chance:
        return None
    if max(abs(generator.low), abs(generator.high)) > limit.GENERATOR_WINS * lost:
        return None
    return Reason(
        f"the discriminator's loss is {discriminator.median:.3g}, above the {chance:.3g} of one that cannot tell, and "
        f"the generator's is {generator.median:.3g}: it takes generated images for real ones, and does not learn",
        {"d_loss": discriminator.median, "g_loss": generator.median},
        _margin(discriminator.low, limit.WORSE_THAN_CHANCE * chance),
    )


def _vanished(now: Moment) -> Reason | None:
    if now.g_gradient is None:
        return None
    early, recent = now.g_gradient.early.median, now.g_gradient.recent.median
    if recent > limit.VANISHED_GRADIENT * early:
        return None
    return Reason(
        f"the norm of the generator's gradient has fallen from {early:.3g} to {recent:.3g}",
        {"norm": recent, "early_norm": early},
        _margin(limit.VANISHED_GRADIENT * early, recent),
    )


def _constant(now: Moment) -> Reason | None:
    if now.d_loss.recent.spread or now.g_loss.recent.spread:
        return None
    losses = (now.d_loss.recent_values, now.g_loss.recent_values)
    if any((values != values[0]).any() for values in losses):
        return None
    values = [float(values[0]) for values in losses]
    return Reason(
        f"the losses are exactly {values[0]:.6g} and {values[1]:.6g} in {len(losses[0])} rows",
        {"d_loss": values[0], "g_loss": values[1]},
        2.0,
    )


RULES = (
    Rule("data_fault", _constant),
    Rule("discriminator_overpowers", _bursts),
    Rule("discriminator_overpowers", _fallen),
    Rule("discriminator_overpowers", _dropped),
    Rule("discriminator_overpowers", _opposite_shift),
    Rule("vanished_gradient", _vanished),
    Rule("divergence", _exploded),
    Rule("divergence", _unbounded),
    Rule("divergence", _jumped),
    Rule("critic_drift", _undecided_critic),
    Rule("critic_drift", _inverted_critic),
    Rule("oscillation", _oscillates),
    Rule("discriminator_too_weak", _cannot_tell),
    Rule("discriminator_too_weak", _worse_than_chance),
)
"""Every rule over windows, the most specific first: conditions that begin at once are reported in this order."""


def _margin(value: float, threshold: float) -> float:
    return value / threshold if threshold > 0 else 10.0
