"""What keeps a discriminator smooth: gradient penalties, each beside its formula, and instance noise.

A discriminator is any callable from images float [N, C, H, W] to logits [N], its labels bound and, if it is to be
regularised on augmented images, the augmentation inside. Gradients are taken in float32 whatever precision is around:
squared and differentiated again, bfloat16's eight bits do not do.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Discriminator = Callable[[Tensor], Tensor]


def gradient_norms_squared(discriminator: Discriminator, images: Tensor) -> Tensor:
    """‖∇D(x)‖² of every image, float32 [N], itself differentiable by D's weights.

    Images are taken as they are: no gradient reaches what made them. Where D mixes the images of a batch, as batch
    normalisation does, this is the gradient of the batch's summed logits.
    """
    with torch.autocast(images.device.type, enabled=False):
        images = images.detach().float().requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
        return gradient.square().flatten(1).sum(1)


def zero_centred_penalty(discriminator: Discriminator, images: Tensor) -> Tensor:
    """E ‖∇D(x)‖²: R1 on real images, R2 on generated ones (Mescheder et al. 2018, equations 9 and 10).

    The papers' penalty is γ/2 times this scalar.
    """
    return gradient_norms_squared(discriminator, images).mean()


def gradient_penalty(discriminator: Discriminator, reals: Tensor, fakes: Tensor, mix: Tensor) -> Tensor:
    """E (‖∇D(x̂)‖ - 1)² between reals and fakes (Gulrajani et al. 2017, equation 3, without its weight λ).

    x̂ = u x + (1 - u) G(z), with ``mix`` float [N] in 0 … 1 as u. Returns a scalar.
    """
    between = torch.lerp(fakes.detach().float(), reals.detach().float(), mix.view(-1, 1, 1, 1))
    squares = gradient_norms_squared(discriminator, between)
    # The root's derivative at 0 is infinite: a gradient that is 0 everywhere would make every weight NaN.
    return ((squares + 1e-12).sqrt() - 1).square().mean()


def instance_noise(images: Tensor, sigma: float, noise: Tensor) -> Tensor:
    """Images x + σ ε, blurred into each other's reach (Sønderby et al. 2017, arXiv:1610.04490).

    Takes standard normal ``noise`` of the images' shape; reals and fakes get noise of the same strength.
    """
    return images + sigma * noise


def instance_noise_sigma(sigma: float, until: float, progress: float) -> float:
    """The strength of instance noise now: fades from ``sigma`` linearly, and is 0 from the progress ``until`` on."""
    return sigma * max(0.0, 1 - progress / until)


def lazy_adam(learning_rate: float, beta1: float, beta2: float, interval: int) -> tuple[float, tuple[float, float]]:
    """Adam's (learning rate, betas) where every ``interval`` steps a penalty takes one more step of its own.

    With c = k / (k + 1), the rate becomes c λ and each β becomes β^c, so that k + 1 steps go as far and remember as
    long as k did (lazy regularisation, Karras et al. 2020, arXiv:1912.04958, appendix B). The penalty's step is to be
    weighted with k. A penalty that is part of a step that is taken anyway needs no such correction.
    """
    share = interval / (interval + 1)
    return share * learning_rate, (beta1**share, beta2**share)
