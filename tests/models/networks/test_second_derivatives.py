"""Gradient penalties differentiate a discriminator twice: first by its images, then by its weights."""

import pytest
import torch
from torch import Tensor, nn

from models.bundle import ImageSpec
from models.networks import NetworkConfig, build_discriminator
from models.networks.r3gan import R3ganConfig
from models.networks.stylegan2 import Stylegan2Config


def penalty(discriminator: nn.Module, images: Tensor) -> Tensor:
    """Returns R1 (Mescheder et al. 2018, equation 9): the mean squared norm of the logits' gradient by the images."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


@pytest.mark.parametrize(
    "config",
    [Stylegan2Config(style_dim=8, width=4, max_width=8), R3ganConfig(width=4, max_width=8, group_width=4)],
    ids=lambda config: config.family,
)
def test_the_gradient_of_a_penalty_is_its_slope(config: NetworkConfig) -> None:
    """A step along the gradient changes the penalty by the gradient's norm times the step."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    discriminator = build_discriminator(config, ImageSpec(height=16, width=16, channels=3), 0)
    for name, module in list(discriminator.named_modules()):
        if isinstance(module, nn.LeakyReLU):  # has kinks, which break finite differences
            discriminator.set_submodule(name, nn.Softplus())
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter += 0.3 * torch.randn_like(parameter)  # fresh weights may be 0
    images = torch.randn(4, 3, 16, 16)

    parameters = list(discriminator.parameters())
    gradients = torch.autograd.grad(penalty(discriminator, images), parameters, materialize_grads=True)
    norm = sum(gradient.square().sum() for gradient in gradients) ** 0.5
    values = []
    for step in (0.01, -0.02):
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter += step * gradient / norm
        values.append(penalty(discriminator, images).item())
    assert (values[0] - values[1]) / 0.02 == pytest.approx(norm.item(), rel=0.02)
