"""The adversarial losses, each beside its formula.

Here D(x) is the discriminator's logit, σ the logistic function, x a real image, G(z) a generated one, and E a mean
over the batch. Logarithms of σ are written with softplus, which neither over- nor underflows:
log σ(t) = -softplus(-t) and log(1 - σ(t)) = -softplus(t).
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import softplus


@dataclass(frozen=True)
class Loss:
    """One adversarial game: what each player minimises, from logits float [N] to a scalar."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    """(D(x), D(G(z))) → the discriminator's loss."""
    generator: Callable[[Tensor], Tensor]
    """D(G(z)) → the generator's loss."""


def logistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-E log σ(D(x)) - E log(1 - σ(D(G(z)))); 2 ln 2 when D cannot tell (Goodfellow et al. 2014, equation 1)."""
    return softplus(-real).mean() + softplus(fake).mean()


def minimax_generator(fake: Tensor) -> Tensor:
    """E log(1 - σ(D(G(z)))): the game as stated (Goodfellow et al. 2014, equation 1).

    Its gradient is -σ(D(G(z))) / N per image, and so vanishes just where the discriminator is sure of a fake.
    """
    return -softplus(fake).mean()


def non_saturating_generator(fake: Tensor) -> Tensor:
    """-E log σ(D(G(z))): the same fixed point, the gradient strongest for the worst fakes (the same, section 3)."""
    return softplus(-fake).mean()


def least_squares_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """½ E (D(x) - 1)² + ½ E D(G(z))²; ¼ when D cannot tell (Mao et al. 2017, equation 9: a = 0, b = c = 1)."""
    return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()


def least_squares_generator(fake: Tensor) -> Tensor:
    """½ E (D(G(z)) - 1)² (Mao et al. 2017, equation 9)."""
    return 0.5 * (fake - 1).square().mean()


LOSSES = {
    "minimax": Loss(logistic_discriminator, minimax_generator),
    "non_saturating": Loss(logistic_discriminator, non_saturating_generator),
    "least_squares": Loss(least_squares_discriminator, least_squares_generator),
}
