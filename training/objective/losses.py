"""The adversarial losses, each beside its formula.

Notation: D(x) is the discriminator's logit, σ the logistic function, x a real image, G(z) a generated one, and E a mean
over the batch. Logarithms of σ are written with softplus, which neither overflows nor underflows:
log σ(t) = -softplus(-t) and log(1 - σ(t)) = -softplus(t).

To add a loss, write its formulas and one record in ``LOSSES``. The configuration, its rules and the plots follow.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor
from torch.nn.functional import relu, softplus


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One adversarial game: the loss of each network, from logits float [N] to a scalar, and its properties."""

    name: str
    """Value of the setting ``loss``."""
    discriminator_formula: Callable[..., Tensor]
    """(D(x), D(G(z))) → the discriminator's loss. A smoothable loss takes ε as third argument."""
    generator: Callable[[Tensor, Tensor], Tensor]
    """(D(G(z)), D(x)) → the generator's loss."""
    decision_threshold: float | None
    """The logit at which D cannot tell real from generated; None if only differences of logits have a meaning."""
    equilibrium: float | None
    """The discriminator's loss, without smoothing, when it cannot tell; None if no value marks that."""
    smoothable: bool
    """Whether the discriminator's loss has a target for reals that label smoothing can soften."""
    needs_reals: bool
    """Whether the generator's loss depends on D(x). If not, any tensor may stand for it."""
    needs_slope_bound: bool
    """Whether the discriminator's loss falls without limit unless something bounds the slope of D."""

    def discriminator(self, real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
        """Returns the discriminator's loss from D(x) and D(G(z)).

        ``smoothing`` ε in 0 … 1 softens the target of reals from 1 to 1 - ε (one-sided label smoothing, Salimans et
        al. 2016, section 3.4). Raises ``ValueError`` if ε is not 0 and the loss is not smoothable.
        """
        if self.smoothable:
            return self.discriminator_formula(real, fake, smoothing)
        if smoothing:
            raise ValueError(
                f"the {self.name} loss has no target to soften: label smoothing must be 0, not {smoothing}"
            )
        return self.discriminator_formula(real, fake)


def logistic_discriminator(real: Tensor, fake: Tensor, smoothing: float) -> Tensor:
    """-E[(1 - ε) log σ(D(x)) + ε log(1 - σ(D(x)))] - E log(1 - σ(D(G(z)))); 2 ln 2 when D cannot tell.

    Goodfellow et al. 2014, equation 1, where ε = 0. Since softplus(t) - softplus(-t) = t, smoothing adds ε E D(x).
    """
    return softplus(-real).mean() + smoothing * real.mean() + softplus(fake).mean()


def minimax_generator(fake: Tensor, real: Tensor) -> Tensor:
    """E log(1 - σ(D(G(z)))): the original game (Goodfellow et al. 2014, equation 1).

    Its gradient per image is -σ(D(G(z))) / N. It vanishes where the discriminator is sure that an image is generated.
    """
    return -softplus(fake).mean()


def non_saturating_generator(fake: Tensor, real: Tensor) -> Tensor:
    """-E log σ(D(G(z))): the same fixed point, with the strongest gradient for the worst images.

    Goodfellow et al. 2014, section 3.
    """
    return softplus(-fake).mean()


def least_squares_discriminator(real: Tensor, fake: Tensor, smoothing: float) -> Tensor:
    """½ E (D(x) - (1 - ε))² + ½ E D(G(z))²; ¼ when D cannot tell (Mao et al. 2017, equation 9: a = 0, b = c = 1)."""
    return 0.5 * (real - (1 - smoothing)).square().mean() + 0.5 * fake.square().mean()


def least_squares_generator(fake: Tensor, real: Tensor) -> Tensor:
    """½ E (D(G(z)) - 1)² (Mao et al. 2017, equation 9)."""
    return 0.5 * (fake - 1).square().mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))); 2 when D cannot tell (Miyato et al. 2018, equation 16).

    Logits beyond the margin -1 … 1 on their own side cost nothing and have no gradient.
    """
    return relu(1 - real).mean() + relu(1 + fake).mean()


def wasserstein_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E D(G(z)) - E D(x): minus the distance that a 1-Lipschitz D measures (Arjovsky et al. 2017, equation 2)."""
    return fake.mean() - real.mean()


def critic_generator(fake: Tensor, real: Tensor) -> Tensor:
    """-E D(G(z)) (Arjovsky et al. 2017, algorithm 1; with the hinge, Miyato et al. 2018, equation 17)."""
    return -fake.mean()


def relativistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-E log σ(D(x) - D(G(z))) over pairs; ln 2 when D cannot tell.

    RpGAN of Jolicoeur-Martineau 2018, arXiv:1807.00734; with softplus, Huang et al. 2024, arXiv:2501.05441, equation 2.
    """
    return softplus(fake - real).mean()


def relativistic_generator(fake: Tensor, real: Tensor) -> Tensor:
    """-E log σ(D(G(z)) - D(x)) over pairs: rewards a generated image that looks more real than its real one.

    The same papers.
    """
    return softplus(real - fake).mean()


LOSSES = {
    loss.name: loss
    for loss in (
        Loss(
            name="minimax",
            discriminator_formula=logistic_discriminator,
            generator=minimax_generator,
            decision_threshold=0.0,
            equilibrium=2 * math.log(2),
            smoothable=True,
            needs_reals=False,
            needs_slope_bound=False,
        ),
        Loss(
            name="non_saturating",
            discriminator_formula=logistic_discriminator,
            generator=non_saturating_generator,
            decision_threshold=0.0,
            equilibrium=2 * math.log(2),
            smoothable=True,
            needs_reals=False,
            needs_slope_bound=False,
        ),
        Loss(
            name="least_squares",
            discriminator_formula=least_squares_discriminator,
            generator=least_squares_generator,
            decision_threshold=0.5,
            equilibrium=0.25,
            smoothable=True,
            needs_reals=False,
            needs_slope_bound=False,
        ),
        Loss(
            name="hinge",
            discriminator_formula=hinge_discriminator,
            generator=critic_generator,
            decision_threshold=0.0,
            equilibrium=2.0,
            smoothable=False,
            needs_reals=False,
            needs_slope_bound=False,
        ),
        Loss(
            name="wasserstein",
            discriminator_formula=wasserstein_discriminator,
            generator=critic_generator,
            decision_threshold=None,
            equilibrium=None,
            smoothable=False,
            needs_reals=False,
            needs_slope_bound=True,
        ),
        Loss(
            name="relativistic",
            discriminator_formula=relativistic_discriminator,
            generator=relativistic_generator,
            decision_threshold=None,
            equilibrium=math.log(2),
            smoothable=False,
            needs_reals=True,
            needs_slope_bound=False,
        ),
    )
}
"""Name → loss."""

if TYPE_CHECKING:
    LossName = str  # mypy cannot read a Literal that is built from a table
else:
    LossName = Literal[tuple(LOSSES)]
    """A name in ``LOSSES``, as configurations check it and their JSON schema lists it."""
