"""Regularizers that keep a discriminator smooth: gradient penalties, each beside its formula, and instance noise.

A discriminator here is any callable from images float [N, C, H, W] to logits [N]. Its labels are bound, and the
augmentation is inside if penalties apply to augmented images. Gradients are always float32: they are squared and
differentiated again, for which the eight bits of bfloat16 are too few.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Discriminator = Callable[[Tensor], Tensor]


def gradient_norms_squared(discriminator: Discriminator, images: Tensor) -> Tensor:
    """Returns ‖∇D(x)‖² of every image, float32 [N], differentiable by D's weights.

    Images are detached: no gradient reaches the generator. If D mixes the images of a batch, as batch normalisation
    does, the result is the gradient of the batch's summed logits.
    """
    with torch.autocast(images.device.type, enabled=False):
        images = images.detach().float().requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
        return gradient.square().flatten(1).sum(1)


def zero_centred_penalty(discriminator: Discriminator, images: Tensor) -> Tensor:
    """Returns E ‖∇D(x)‖²: R1 on real images, R2 on generated ones (Mescheder et al. 2018, equations 9 and 10).

    The papers' penalty is γ/2 times this scalar.
    """
    return gradient_norms_squared(discriminator, images).mean()


def gradient_penalty(discriminator: Discriminator, reals: Tensor, fakes: Tensor, mix: Tensor) -> Tensor:
    """Returns E (‖∇D(x̂)‖ - 1)² between reals and fakes (Gulrajani et al. 2017, equation 3, without its weight λ).

    x̂ = u x + (1 - u) G(z), with ``mix`` float [N] in 0 … 1 as u.
    """
    interpolated = torch.lerp(fakes.detach().float(), reals.detach().float(), mix.view(-1, 1, 1, 1))
    squares = gradient_norms_squared(discriminator, interpolated)
    # The square root's derivative at 0 is infinite: a gradient of 0 would make every weight NaN.
    return ((squares + 1e-12).sqrt() - 1).square().mean()


def instance_noise(images: Tensor, sigma: float, noise: Tensor) -> Tensor:
    """Returns x + σ ε, so that the distributions of reals and fakes overlap (Sønderby et al. 2017, arXiv:1610.04490).

    ``noise`` ε is standard normal and has the images' shape. Reals and fakes get noise of the same σ.
    """
    return images + sigma * noise


def instance_noise_sigma(sigma: float, until: float, progress: float) -> float:
    """Returns σ of the instance noise: falls linearly from ``sigma``, and is 0 from the progress ``until`` on."""
    return sigma * max(0.0, 1 - progress / until)


def lazy_adam(learning_rate: float, beta1: float, beta2: float, interval: int) -> tuple[float, tuple[float, float]]:
    """Returns Adam's (learning rate, betas) if a penalty takes one extra step every ``interval`` k steps.

    With c = k / (k + 1), the rate becomes c λ and each β becomes β^c. So k + 1 steps move as far and remember as long
    as k steps did (lazy regularisation, Karras et al. 2020, arXiv:1912.04958, appendix B). Weight the penalty with k in
    its step. A penalty inside a regular step needs no such correction.
    """
    c = interval / (interval + 1)
    return c * learning_rate, (beta1**c, beta2**c)
