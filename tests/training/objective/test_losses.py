"""Each loss has the values and gradients of its formula, and the properties of its record."""

import math
from collections.abc import Callable

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from training.objective.losses import LOSSES, LossName

LN2 = math.log(2)


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def logistic(real: float, fake: float) -> float:
    return -math.log(sigmoid(real)) - math.log(1 - sigmoid(fake))


CLOSED_FORMS: dict[str, tuple[Callable[[float, float], float], Callable[[float, float], float]]] = {
    "minimax": (logistic, lambda real, fake: math.log(1 - sigmoid(fake))),
    "non_saturating": (logistic, lambda real, fake: -math.log(sigmoid(fake))),
    "least_squares": (
        lambda real, fake: 0.5 * (real - 1) ** 2 + 0.5 * fake**2,
        lambda real, fake: 0.5 * (fake - 1) ** 2,
    ),
    "hinge": (lambda real, fake: max(0, 1 - real) + max(0, 1 + fake), lambda real, fake: -fake),
    "wasserstein": (lambda real, fake: fake - real, lambda real, fake: -fake),
    "relativistic": (
        lambda real, fake: -math.log(sigmoid(real - fake)),
        lambda real, fake: -math.log(sigmoid(fake - real)),
    ),
}
"""Name → losses of discriminator and generator for one pair of logits (D(x), D(G(z))), as in the papers."""

SMOOTHABLE = [name for name, loss in LOSSES.items() if loss.smoothable]


def test_every_loss_is_tested() -> None:
    assert set(LOSSES) == set(CLOSED_FORMS)


@pytest.mark.parametrize("name", LOSSES)
def test_values_are_means_of_the_formula(name: str) -> None:
    """Uses unequal logits, which distinguish pairs from means."""
    discriminator, generator = CLOSED_FORMS[name]
    pairs = [(0.0, 0.0), (2.0, -1.5), (-3.0, 0.7), (0.4, 0.9)]
    reals, fakes = torch.tensor(pairs).unbind(1)
    loss = LOSSES[name]
    expected = sum(discriminator(real, fake) for real, fake in pairs) / len(pairs)
    assert loss.discriminator(reals, fakes, 0).item() == pytest.approx(expected, rel=1e-5)
    expected = sum(generator(real, fake) for real, fake in pairs) / len(pairs)
    assert loss.generator(fakes, reals).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "decision_threshold", "equilibrium"),
    [
        ("minimax", 0, 2 * LN2),
        ("non_saturating", 0, 2 * LN2),
        ("least_squares", 0.5, 0.25),
        ("hinge", 0, 2),
        ("wasserstein", None, None),
        ("relativistic", None, LN2),
    ],
)
def test_a_discriminator_that_cannot_tell_has_the_loss_of_the_theory(
    name: str, decision_threshold: float | None, equilibrium: float | None
) -> None:
    loss = LOSSES[name]
    assert loss.decision_threshold == decision_threshold
    assert loss.equilibrium == (None if equilibrium is None else pytest.approx(equilibrium))
    if equilibrium is not None:
        logits = torch.full((4,), loss.decision_threshold or 0.0)
        assert loss.discriminator(logits, logits, 0).item() == pytest.approx(equilibrium, rel=1e-6)


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.decision_threshold is not None])
def test_the_decision_threshold_is_the_constant_logit_with_the_lowest_loss(name: str) -> None:
    loss = LOSSES[name]
    assert loss.decision_threshold is not None
    logits = torch.full((1,), loss.decision_threshold, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss.discriminator(logits, logits, 0), [logits])
    assert gradient.item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_the_networks_pull_in_opposite_directions(name: str) -> None:
    real = torch.tensor([0.3, -0.2], requires_grad=True)
    fake = torch.tensor([0.7, 0.4], requires_grad=True)
    loss = LOSSES[name]
    up, down = torch.autograd.grad(loss.discriminator(real, fake, 0), [real, fake])
    assert (up < 0).all(), "the discriminator raises the logits of reals"
    assert (down > 0).all(), "the discriminator lowers the logits of fakes"
    (up,) = torch.autograd.grad(loss.generator(fake, real), [fake])
    assert (up < 0).all(), "the generator raises the logits of its fakes"


@pytest.mark.parametrize("name", LOSSES)
def test_the_generators_loss_depends_on_reals_only_if_the_record_says_so(name: str) -> None:
    loss = LOSSES[name]
    fake = torch.tensor([0.7, 0.4])
    differs = loss.generator(fake, torch.tensor([1.0, 2.0])) != loss.generator(fake, torch.tensor([-1.0, 0.0]))
    assert bool(differs) == loss.needs_reals


def test_minimax_saturates_where_non_saturating_does_not() -> None:
    """If D is sure, minimax has no gradient left and non-saturating its strongest (Goodfellow 2014, section 3)."""
    gradients = {}
    for name in ("minimax", "non_saturating"):
        fake = torch.tensor([-10.0], requires_grad=True)
        (gradient,) = torch.autograd.grad(LOSSES[name].generator(fake, fake.detach()), [fake])
        gradients[name] = gradient.item()
    assert gradients["minimax"] == pytest.approx(-sigmoid(-10), rel=1e-4)
    assert gradients["non_saturating"] == pytest.approx(-sigmoid(10), rel=1e-4)


def test_hinge_has_no_gradient_outside_the_margin() -> None:
    real = torch.tensor([1.1, 5.0], requires_grad=True)
    fake = torch.tensor([-1.1, -5.0], requires_grad=True)
    loss = LOSSES["hinge"].discriminator(real, fake, 0)
    assert loss.item() == 0
    for gradient in torch.autograd.grad(loss, [real, fake]):
        assert not gradient.any()


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.decision_threshold is None])
def test_without_a_decision_threshold_only_differences_of_logits_count(name: str) -> None:
    real, fake = torch.tensor([0.3, -1.2]), torch.tensor([0.1, 0.8])
    loss = LOSSES[name]
    assert loss.discriminator(real + 7, fake + 7, 0).item() == pytest.approx(
        loss.discriminator(real, fake, 0).item(), rel=1e-5
    )


def test_relativistic_generator_sees_only_differences() -> None:
    real, fake = torch.tensor([0.3, -1.2]), torch.tensor([0.1, 0.8])
    generator = LOSSES["relativistic"].generator
    assert generator(fake + 7, real + 7).item() == pytest.approx(generator(fake, real).item(), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_smoothing_is_the_cross_entropy_with_softer_targets_for_reals_alone(smoothing: float) -> None:
    real, fake = torch.tensor([2.0, -0.5, 6.0]), torch.tensor([-1.0, 3.0, 0.2])
    softened = torch.full_like(real, 1 - smoothing)
    expected = binary_cross_entropy_with_logits(real, softened)
    expected += binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    for name in ("minimax", "non_saturating"):
        torch.testing.assert_close(LOSSES[name].discriminator(real, fake, smoothing), expected)


@pytest.mark.parametrize(("name", "best"), [("minimax", math.log(9)), ("least_squares", 0.9)])
def test_smoothing_moves_the_best_logit_of_reals_alone(name: str, best: float) -> None:
    """σ(ln 9) = 0.9: with ε = 0.1 that is the best logit of reals. The gradient of fakes does not change."""
    real = torch.tensor([best], requires_grad=True)
    fake = torch.tensor([-1.0], requires_grad=True)

    def gradients(smoothing: float) -> tuple[Tensor, ...]:
        return torch.autograd.grad(LOSSES[name].discriminator(real, fake, smoothing), [real, fake])

    assert gradients(0.1)[0].item() == pytest.approx(0, abs=1e-6)
    assert gradients(0)[0].item() < 0
    assert torch.equal(gradients(0.1)[1], gradients(0)[1])


@pytest.mark.parametrize("name", sorted(set(LOSSES) - set(SMOOTHABLE)))
def test_a_loss_without_a_target_rejects_smoothing(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} loss has no target to soften"):
        LOSSES[name].discriminator(torch.zeros(2), torch.zeros(2), 0.1)


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_logits_stay_finite(name: str) -> None:
    logits = torch.tensor([1e4, -1e4], requires_grad=True)
    loss = LOSSES[name]
    smoothing = 0.1 if loss.smoothable else 0
    for value in (loss.discriminator(logits, -logits, smoothing), loss.generator(logits, -logits)):
        (gradient,) = torch.autograd.grad(value, [logits])
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_needs_a_slope_bound_if_scaling_the_logits_lowers_it_without_limit(name: str) -> None:
    real, fake = torch.tensor([1.0, 2.0]), torch.tensor([-1.0, -2.0])
    loss = LOSSES[name]
    assert (loss.discriminator(1e6 * real, 1e6 * fake).item() < -1e5) == loss.needs_slope_bound


def test_the_configuration_allows_exactly_these_losses() -> None:
    assert TypeAdapter(LossName).json_schema()["enum"] == list(LOSSES)
