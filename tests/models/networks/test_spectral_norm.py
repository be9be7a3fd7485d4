"""A normalised weight's largest singular value is 1, and stays 1 while the weight changes."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from models.networks.layers.spectral_norm import spectral_normalise


def largest_singular_value(weight: Tensor) -> float:
    return float(torch.linalg.matrix_norm(weight.detach().flatten(1), ord=2))


def test_the_largest_singular_value_becomes_one() -> None:
    torch.manual_seed(0)
    for layer in (nn.Conv2d(6, 10, 3), nn.Linear(7, 5), nn.Embedding(4, 9)):
        with torch.no_grad():
            layer.weight.mul_(7)
        expected = layer.weight.detach() / largest_singular_value(layer.weight)
        spectral_normalise(layer)
        for _ in range(50):
            layer.weight  # noqa: B018 - each access is a step of the power iteration
        torch.testing.assert_close(layer.weight.detach(), expected, rtol=1e-3, atol=1e-4)


def test_it_follows_a_changing_weight_as_pytorchs_implementation_does() -> None:
    torch.manual_seed(0)
    ours = nn.Linear(12, 8)
    theirs = copy.deepcopy(ours)
    spectral_normalise(ours)
    parametrizations.spectral_norm(theirs)
    for _ in range(200):
        step = 0.01 * torch.randn(8, 12)
        with torch.no_grad():
            ours.parametrizations.weight.original.add_(step)
            theirs.parametrizations.weight.original.add_(step)
        assert abs(largest_singular_value(ours.weight) - 1) < 0.05
        theirs.weight  # noqa: B018
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=0.05, atol=0.01)


def test_the_gradient_is_the_papers() -> None:
    """∂/∂W of sum(W / σ) = (E - (sum of W / σ) · u vᵀ) / σ, with u and v from an exact decomposition."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 4).double()
    spectral_normalise(layer)
    for _ in range(300):
        layer.weight  # noqa: B018
    torch.autograd.backward(layer.weight.sum())
    weight = layer.parametrizations.weight.original
    u, sigma, v = torch.linalg.svd(weight.detach())
    ones = torch.ones_like(weight)
    expected = (ones - (weight / sigma[0]).sum() * torch.outer(u[:, 0], v[0])) / sigma[0]
    torch.testing.assert_close(weight.grad, expected.detach(), rtol=1e-5, atol=1e-6)


def test_evaluation_changes_no_state() -> None:
    layer = nn.Linear(6, 4)
    spectral_normalise(layer)
    layer.eval()
    before = copy.deepcopy(layer.state_dict())
    assert torch.equal(layer.weight, layer.weight)
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])


def test_an_ema_state_is_still_normalised() -> None:
    """An average of unit vectors is shorter than 1. That must not scale the EMA generator up."""
    torch.manual_seed(0)
    layer = nn.Linear(12, 8)
    spectral_normalise(layer)
    ema = copy.deepcopy(layer).eval()
    for _ in range(100):
        with torch.no_grad():
            layer.parametrizations.weight.original.add_(0.03 * torch.randn(8, 12))
            layer.weight  # noqa: B018
            for name, value in ema.state_dict().items():
                value.lerp_(layer.state_dict()[name], 0.05)
    left = ema.parametrizations.weight[0].left
    assert left.norm() < 0.98, "the test has no effect unless the singular vector turns"
    assert abs(largest_singular_value(ema.weight) - 1) < 0.02


def test_bfloat16_around_it_does_not_round_it() -> None:
    layer = nn.Linear(12, 8)
    spectral_normalise(layer)
    layer.eval()
    exact = layer.weight
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.weight, exact)
