"""What the doctor gets to see of a run."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signals:
    """One row of a log. Missing values are None; NaN and infinity mean what they say."""

    step: int
    """Counts up: optimiser steps, images seen, or whatever the log counts."""
    d_loss: float | None = None
    g_loss: float | None = None
    g_gradient: float | None = None
    """Norm of the gradient of the generator's weights."""
    train_logit: float | None = None
    """Mean logit of real images that the discriminator trains on."""
    held_out_logit: float | None = None
    """Mean logit of real images that it never sees."""
    fake_logit: float | None = None
    """Mean logit of generated images."""
    score: float | None = None
    """A distance to the real images, smaller is better."""
    coverage: float | None = None
    """Share of the real images that have a generated image near, 0 … 1."""
    noise_score: float | None = None
    """The score of noise in place of generated images."""

    def non_finite(self) -> str | None:
        """Returns the first loss or logit that is NaN or infinite, as ``d_loss is nan``; None if there is none."""
        for name in ("d_loss", "g_loss", "g_gradient", "train_logit", "fake_logit"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                return f"{name} is {value:g}"
        return None


@dataclass(frozen=True)
class LossScale:
    """The values of both losses at which the discriminator cannot tell real from generated."""

    d_loss: float
    g_loss: float


_LN2 = math.log(2)

KNOWN_LOSSES: dict[str, tuple[LossScale, ...]] = {
    "vanilla": (LossScale(2 * _LN2, _LN2), LossScale(_LN2, _LN2)),
    "logistic": (LossScale(2 * _LN2, _LN2), LossScale(_LN2, _LN2)),
    "minimax": (LossScale(2 * _LN2, -_LN2), LossScale(_LN2, -_LN2)),
    "hinge": (LossScale(2.0, 0.0), LossScale(1.0, 0.0)),
    "least_square": (LossScale(0.25, 0.125), LossScale(0.5, 0.25), LossScale(0.25, 0.25)),
    "relativistic": (LossScale(_LN2, _LN2),),
    "wasserstein": (),
}
"""Loss → its scales: some frameworks halve the discriminator's loss, and least squares with or without a factor ½."""

SYNONYMS = {"non_saturating": "vanilla", "least_squares": "least_square"}
"""Figment's name of a loss → the name above, where they differ."""


def known_loss(name: str) -> str | None:
    """Returns the name in ``KNOWN_LOSSES``, or None for a loss that the doctor does not know."""
    name = SYNONYMS.get(name, name)
    return name if name in KNOWN_LOSSES else None
