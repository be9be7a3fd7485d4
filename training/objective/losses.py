"""The adversarial losses, each beside its formula.

Here D(x) is the discriminator's logit, σ the logistic function, x a real image, G(z) a generated one, and E a mean
over the batch. Logarithms of σ are written with softplus, which neither over- nor underflows:
log σ(t) = -softplus(-t) and log(1 - σ(t)) = -softplus(t).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import relu, softplus


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One adversarial game: what each player minimises, from logits float [N] to a scalar, and what it amounts to."""

    discriminator: Callable[[Tensor, Tensor, float], Tensor]
    """(D(x), D(G(z)), ε) → the discriminator's loss; ε in 0 … 1 softens the target of reals from 1 to 1 - ε
    (one-sided label smoothing, Salimans et al. 2016, section 3.4)."""
    generator: Callable[[Tensor, Tensor], Tensor]
    """(D(G(z)), D(x)) → the generator's loss."""
    decision_threshold: float | None
    """The logit at which D cannot tell real from fake; None where logits have no zero, only differences."""
    equilibrium: float | None
    """The discriminator's loss, without smoothing, when it cannot tell; None where no value marks that."""
    smoothable: bool = False
    """Whether there is a target to soften; where there is none, an ε other than 0 raises ``ValueError``."""
    needs_reals: bool = False
    """Whether the generator's loss depends on D(x); where it does not, any tensor may stand for it."""


def logistic_discriminator(real: Tensor, fake: Tensor, smoothing: float) -> Tensor:
    """-E[(1 - ε) log σ(D(x)) + ε log(1 - σ(D(x)))] - E log(1 - σ(D(G(z)))); 2 ln 2 when D cannot tell.

    Goodfellow et al. 2014, equation 1, where ε = 0. Since softplus(t) - softplus(-t) = t, smoothing adds ε E D(x).
    """
    return softplus(-real).mean() + smoothing * real.mean() + softplus(fake).mean()


def minimax_generator(fake: Tensor, real: Tensor) -> Tensor:
    """E log(1 - σ(D(G(z)))): the game as stated (Goodfellow et al. 2014, equation 1).

    Its gradient is -σ(D(G(z))) / N per image, and so vanishes just where the discriminator is sure of a fake.
    """
    return -softplus(fake).mean()


def non_saturating_generator(fake: Tensor, real: Tensor) -> Tensor:
    """-E log σ(D(G(z))): the same fixed point, the gradient strongest for the worst fakes (the same, section 3)."""
    return softplus(-fake).mean()


def least_squares_discriminator(real: Tensor, fake: Tensor, smoothing: float) -> Tensor:
    """½ E (D(x) - (1 - ε))² + ½ E D(G(z))²; ¼ when D cannot tell (Mao et al. 2017, equation 9: a = 0, b = c = 1)."""
    return 0.5 * (real - (1 - smoothing)).square().mean() + 0.5 * fake.square().mean()


def least_squares_generator(fake: Tensor, real: Tensor) -> Tensor:
    """½ E (D(G(z)) - 1)² (Mao et al. 2017, equation 9)."""
    return 0.5 * (fake - 1).square().mean()


def hinge_discriminator(real: Tensor, fake: Tensor, smoothing: float) -> Tensor:
    """E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))); 2 when D cannot tell (Miyato et al. 2018, equation 16).

    Logits outside the margin -1 … 1 on their own side cost nothing and pull at nothing.
    """
    _require_unsmoothed("hinge", smoothing)
    return relu(1 - real).mean() + relu(1 + fake).mean()


def wasserstein_discriminator(real: Tensor, fake: Tensor, smoothing: float) -> Tensor:
    """E D(G(z)) - E D(x), minus the distance that a 1-Lipschitz D measures (Arjovsky et al. 2017, equation 2)."""
    _require_unsmoothed("wasserstein", smoothing)
    return fake.mean() - real.mean()


def critic_generator(fake: Tensor, real: Tensor) -> Tensor:
    """-E D(G(z)) (Arjovsky et al. 2017, algorithm 1; with the hinge, Miyato et al. 2018, equation 17)."""
    return -fake.mean()


def relativistic_discriminator(real: Tensor, fake: Tensor, smoothing: float) -> Tensor:
    """-E log σ(D(x) - D(G(z))) over pairs; ln 2 when D cannot tell.

    RpGAN of Jolicoeur-Martineau 2018, arXiv:1807.00734; with softplus, Huang et al. 2024, arXiv:2501.05441, equation 2.
    """
    _require_unsmoothed("relativistic", smoothing)
    return softplus(fake - real).mean()


def relativistic_generator(fake: Tensor, real: Tensor) -> Tensor:
    """-E log σ(D(G(z)) - D(x)) over pairs: each fake is to look more real than its real (the same papers)."""
    return softplus(real - fake).mean()


def _require_unsmoothed(loss: str, smoothing: float) -> None:
    if smoothing:
        raise ValueError(f"the {loss} loss has no target to soften: label smoothing must be 0, not {smoothing}")


LOSSES = {
    "minimax": Loss(
        discriminator=logistic_discriminator,
        generator=minimax_generator,
        decision_threshold=0.0,
        equilibrium=2 * math.log(2),
        smoothable=True,
    ),
    "non_saturating": Loss(
        discriminator=logistic_discriminator,
        generator=non_saturating_generator,
        decision_threshold=0.0,
        equilibrium=2 * math.log(2),
        smoothable=True,
    ),
    "least_squares": Loss(
        discriminator=least_squares_discriminator,
        generator=least_squares_generator,
        decision_threshold=0.5,
        equilibrium=0.25,
        smoothable=True,
    ),
    "hinge": Loss(
        discriminator=hinge_discriminator,
        generator=critic_generator,
        decision_threshold=0.0,
        equilibrium=2.0,
    ),
    "wasserstein": Loss(
        discriminator=wasserstein_discriminator,
        generator=critic_generator,
        decision_threshold=None,
        equilibrium=None,
    ),
    "relativistic": Loss(
        discriminator=relativistic_discriminator,
        generator=relativistic_generator,
        decision_threshold=None,
        equilibrium=math.log(2),
        needs_reals=True,
    ),
}
