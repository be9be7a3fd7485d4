"""Penalties have the values and second derivatives of calculus, in float32 even under autocast."""

import pytest
import torch
from torch import Tensor, nn

from training.objective.regularizers import (
    gradient_norms_squared,
    gradient_penalty,
    instance_noise,
    instance_noise_sigma,
    lazy_adam,
    zero_centred_penalty,
)

SHAPE = (2, 3, 4)
SIZE = 24


@pytest.fixture
def images() -> Tensor:
    return torch.randn((5, *SHAPE), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def matrix() -> Tensor:
    """A of the quadratic discriminator D(x) = ½ xᵀ A x, whose gradient is ½ (A + Aᵀ) x."""
    return torch.randn((SIZE, SIZE), generator=torch.Generator().manual_seed(1)).requires_grad_()


def quadratic(matrix: Tensor, images: Tensor) -> Tensor:
    flat = images.flatten(1)
    return 0.5 * ((flat @ matrix) * flat).sum(1)


def smooth_network() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(SIZE, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0))


def test_a_linear_discriminator_has_the_same_gradient_everywhere(images: Tensor) -> None:
    weight = torch.linspace(-1, 1, SIZE)
    norms = gradient_norms_squared(lambda x: x.flatten(1) @ weight + 3, images)
    torch.testing.assert_close(norms, weight.square().sum().expand(5))


def test_a_quadratic_discriminator_has_the_gradient_of_calculus(images: Tensor, matrix: Tensor) -> None:
    expected = (images.flatten(1) @ (0.5 * (matrix + matrix.T))).square().sum(1)
    torch.testing.assert_close(gradient_norms_squared(lambda x: quadratic(matrix, x), images), expected)
    torch.testing.assert_close(zero_centred_penalty(lambda x: quadratic(matrix, x), images), expected.mean())


def test_the_penalty_reaches_the_weights_with_the_derivative_of_calculus(images: Tensor, matrix: Tensor) -> None:
    """The derivative of E ‖g‖², g = ½ (A + Aᵀ) x, by A is E (g xᵀ + x gᵀ)."""
    (derivative,) = torch.autograd.grad(zero_centred_penalty(lambda x: quadratic(matrix, x), images), [matrix])
    flat = images.flatten(1)
    gradient = flat @ (0.5 * (matrix + matrix.T))
    outer = torch.einsum("ni,nj->nij", gradient, flat)
    torch.testing.assert_close(derivative, (outer + outer.transpose(1, 2)).mean(0))


@pytest.mark.parametrize("kind", ["zero centred", "one centred"])
def test_second_derivatives_are_those_of_finite_differences(images: Tensor, kind: str) -> None:
    network = smooth_network()
    weight = network[1].weight
    mix = torch.linspace(0, 1, 5)

    def penalty() -> Tensor:
        if kind == "zero centred":
            return zero_centred_penalty(network, images)
        return gradient_penalty(network, images, images.flip(0), mix)

    (derivative,) = torch.autograd.grad(penalty(), [weight])
    direction = torch.randn_like(weight)
    step = 1e-2
    with torch.no_grad():
        weight += step * direction
    above = penalty().item()
    with torch.no_grad():
        weight -= 2 * step * direction
    below = penalty().item()
    assert (derivative * direction).sum().item() == pytest.approx((above - below) / (2 * step), rel=1e-2)


def test_the_gradient_penalty_is_the_papers_formula(images: Tensor, matrix: Tensor) -> None:
    fakes, mix = images.flip(0), torch.linspace(0, 1, 5)
    expected = []
    for u, real, fake in zip(mix, images, fakes, strict=True):
        between = (u * real + (1 - u) * fake).flatten()
        expected.append(((0.5 * (matrix + matrix.T) @ between).norm() - 1) ** 2)
    penalty = gradient_penalty(lambda x: quadratic(matrix, x), images, fakes, mix)
    torch.testing.assert_close(penalty, torch.stack(expected).mean())


def test_a_constant_discriminator_has_penalty_one_and_no_nan(images: Tensor) -> None:
    weight = torch.zeros(SIZE, requires_grad=True)
    penalty = gradient_penalty(lambda x: x.flatten(1) @ weight, images, images, torch.rand(5))
    assert penalty.item() == pytest.approx(1, abs=1e-5)
    (derivative,) = torch.autograd.grad(penalty, [weight])
    assert torch.isfinite(derivative).all()


def test_no_gradient_reaches_the_generator(images: Tensor) -> None:
    generated = images.clone().requires_grad_()
    network = smooth_network()
    (zero_centred_penalty(network, generated) + gradient_penalty(network, images, generated, torch.rand(5))).backward()
    assert generated.grad is None
    assert all(weight.grad is not None for name, weight in network.named_parameters() if "weight" in name)


def test_autocast_changes_nothing(images: Tensor) -> None:
    """The loop runs in bfloat16. Penalties do not, even on the images of a bfloat16 generator."""
    network, mix = smooth_network(), torch.rand(5)
    seen: list[torch.dtype] = []
    network.register_forward_hook(lambda module, inputs, logits: seen.append(logits.dtype))
    rounded = images.bfloat16()
    alone = [
        zero_centred_penalty(network, rounded.float()),
        gradient_penalty(network, images, rounded.float(), mix),
    ]
    with torch.autocast("cpu", torch.bfloat16):
        assert network(images).dtype == torch.bfloat16, "autocast is at work"
        inside = [zero_centred_penalty(network, rounded), gradient_penalty(network, images, rounded, mix)]
    assert seen == [torch.float32] * 2 + [torch.bfloat16] + [torch.float32] * 2
    assert inside == alone
    torch.autograd.backward(inside)


def test_instance_noise_has_the_given_sigma(images: Tensor) -> None:
    noise = torch.randn_like(images)
    torch.testing.assert_close(instance_noise(images, 0.1, noise) - images, 0.1 * noise)
    assert torch.equal(instance_noise(images, 0, noise), images)


@pytest.mark.parametrize(("seen", "sigma"), [(0, 0.2), (250, 0.15), (1000, 0), (5000, 0)])
def test_instance_noise_fades_linearly_to_nothing(seen: int, sigma: float) -> None:
    assert instance_noise_sigma(0.2, 1000, seen) == pytest.approx(sigma)


def test_lazy_adam_moves_as_far_and_remembers_as_long() -> None:
    """Together, k + 1 corrected steps move and decay as k plain ones do."""
    rate, (beta1, beta2) = lazy_adam(0.002, 0.5, 0.99, interval=16)
    assert 17 * rate == pytest.approx(16 * 0.002)
    assert beta1**17 == pytest.approx(0.5**16)
    assert beta2**17 == pytest.approx(0.99**16)
    assert lazy_adam(0.002, 0, 0.99, interval=16)[1][0] == 0
