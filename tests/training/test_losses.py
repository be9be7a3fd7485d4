"""Each loss has the values and gradients that its formula gives."""

import math

import pytest
import torch

from training.losses import LOSSES

LN2 = math.log(2)


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


CLOSED_FORMS = {
    "minimax": (
        lambda real, fake: -math.log(sigmoid(real)) - math.log(1 - sigmoid(fake)),
        lambda fake: math.log(1 - sigmoid(fake)),
    ),
    "non_saturating": (
        lambda real, fake: -math.log(sigmoid(real)) - math.log(1 - sigmoid(fake)),
        lambda fake: -math.log(sigmoid(fake)),
    ),
    "least_squares": (
        lambda real, fake: 0.5 * (real - 1) ** 2 + 0.5 * fake**2,
        lambda fake: 0.5 * (fake - 1) ** 2,
    ),
}

EQUILIBRIUM = {"minimax": (2 * LN2, -LN2), "non_saturating": (2 * LN2, LN2), "least_squares": (0.25, 0.125)}
UNDECIDED = {"minimax": 0.0, "non_saturating": 0.0, "least_squares": 0.5}


def test_every_loss_is_tested() -> None:
    assert set(LOSSES) == set(CLOSED_FORMS) == set(EQUILIBRIUM)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("real", "fake"), [(0.0, 0.0), (2.0, -1.5), (-3.0, 0.7)])
def test_values_are_those_of_the_formula(name: str, real: float, fake: float) -> None:
    discriminator, generator = CLOSED_FORMS[name]
    loss = LOSSES[name]
    reals, fakes = torch.tensor([real, real]), torch.tensor([fake, fake])
    assert loss.discriminator(reals, fakes).item() == pytest.approx(discriminator(real, fake), rel=1e-5)
    assert loss.generator(fakes).item() == pytest.approx(generator(fake), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_an_undecided_discriminator_costs_what_the_theory_says(name: str) -> None:
    logits = torch.full((4,), UNDECIDED[name])
    discriminator, generator = EQUILIBRIUM[name]
    assert LOSSES[name].discriminator(logits, logits).item() == pytest.approx(discriminator, rel=1e-6)
    assert LOSSES[name].generator(logits).item() == pytest.approx(generator, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_the_players_pull_in_opposite_directions(name: str) -> None:
    real = torch.tensor([0.3, -0.2], requires_grad=True)
    fake = torch.tensor([0.3, -0.2], requires_grad=True)
    real_gradient, fake_gradient = torch.autograd.grad(LOSSES[name].discriminator(real, fake), [real, fake])
    (generator_gradient,) = torch.autograd.grad(LOSSES[name].generator(fake), [fake])
    assert (real_gradient < 0).all(), "the discriminator raises the logits of reals"
    undecided = UNDECIDED[name]
    pushed = torch.tensor([undecided + 0.2], requires_grad=True)
    (down,) = torch.autograd.grad(LOSSES[name].discriminator(real, pushed), [pushed])
    assert (down > 0).all(), "the discriminator lowers the logits of fakes"
    assert (generator_gradient < 0).all(), "the generator raises the logits of its fakes"
    assert fake_gradient.shape == fake.shape


def test_minimax_saturates_where_non_saturating_does_not() -> None:
    """Against a sure discriminator the one has no gradient left, the other its strongest (Goodfellow 2014, sec. 3)."""
    gradients = {}
    for name in ("minimax", "non_saturating"):
        fake = torch.tensor([-10.0], requires_grad=True)
        (gradient,) = torch.autograd.grad(LOSSES[name].generator(fake), [fake])
        gradients[name] = gradient.item()
    assert gradients["minimax"] == pytest.approx(-sigmoid(-10), rel=1e-4)
    assert gradients["non_saturating"] == pytest.approx(-sigmoid(10), rel=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_logits_stay_finite(name: str) -> None:
    logits = torch.tensor([1e4, -1e4])
    assert torch.isfinite(LOSSES[name].discriminator(logits, -logits))
    assert torch.isfinite(LOSSES[name].generator(logits))
