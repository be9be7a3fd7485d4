"""The controller of adaptive augmentation moves p until the discriminator overfits as much as the target."""

import pytest
import torch
from torch import Tensor

from training.augment.adaptive import AdaptiveProbability

CPU = torch.device("cpu")
SURE, UNSURE = torch.tensor([3.0, 1.0, 2.0, 0.1]), torch.tensor([3.0, -1.0, 2.0, -0.1])


def controller(decision_threshold: float = 0.0, **settings: float) -> AdaptiveProbability:
    return AdaptiveProbability(decision_threshold, CPU, images_to_one=1000, **settings)


def run_steps(adaptive: AdaptiveProbability, logits: Tensor, steps: int, images: int = 100) -> float:
    for _ in range(steps):
        adaptive.observe(logits)
        adaptive.update(images)
    return adaptive.probability.item()


def test_probability_starts_at_0_and_rises_while_r_is_above_the_target() -> None:
    adaptive = controller()
    assert adaptive.probability.item() == 0
    assert run_steps(adaptive, SURE, 3) == pytest.approx(0.3)


def test_probability_falls_while_r_is_below_the_target() -> None:
    adaptive = controller()
    run_steps(adaptive, SURE, 5)
    assert run_steps(adaptive, UNSURE, 2) == pytest.approx(0.3)


def test_probability_stays_within_its_bounds() -> None:
    adaptive = controller(max_probability=0.8)
    assert run_steps(adaptive, SURE, 20) == pytest.approx(0.8)
    assert run_steps(adaptive, UNSURE, 20) == 0


def test_probability_goes_from_0_to_1_in_images_to_one_images() -> None:
    adaptive = AdaptiveProbability(0.0, CPU, images_to_one=500_000, max_probability=1)
    assert run_steps(adaptive, SURE, 1000, images=256) == pytest.approx(0.512, rel=1e-3)


@pytest.mark.parametrize(("target", "rises"), [(0.4, True), (0.6, False)])
def test_r_is_the_mean_sign_of_all_logits_since_the_last_update(target: float, rises: bool) -> None:
    """Six of eight signs are up, so r = ½; the mean of the two batches' means would be ⅓."""
    adaptive = controller(target=target)
    run_steps(adaptive, SURE, 2)
    adaptive.observe(torch.tensor([1.0, 1, 1, 1, 1, -1]))
    adaptive.observe(torch.tensor([1.0, -1]))
    adaptive.update(100)
    assert (adaptive.probability.item() > 0.2) == rises


def test_signs_are_relative_to_the_decision_threshold() -> None:
    """A least-squares discriminator with logit 0.4 on reals classifies them as fakes."""
    logits = torch.full((8,), 0.4)
    assert run_steps(controller(decision_threshold=0.5), logits, 1) == 0
    assert run_steps(controller(decision_threshold=0.0), logits, 1) > 0


def test_without_observations_the_probability_stays() -> None:
    adaptive = controller()
    run_steps(adaptive, SURE, 3)
    adaptive.update(100)
    assert adaptive.probability.item() == pytest.approx(0.3)


def test_a_restored_controller_continues_exactly() -> None:
    """Also between two updates."""
    adaptive = controller()
    run_steps(adaptive, SURE, 3, images=77)
    adaptive.observe(SURE)
    state = adaptive.state_dict()
    restored = controller()
    restored.load_state_dict(state)
    for each in (adaptive, restored):
        each.observe(torch.tensor([-1.0]))
        each.update(33)
        run_steps(each, UNSURE, 1, images=5)
    assert torch.equal(adaptive.probability, restored.probability)
    assert state["probability"].item() == pytest.approx(0.231), "the saved state does not change"


def test_processes_that_share_a_batch_compute_the_same_probability() -> None:
    """From its own share alone, one would raise p and the other lower it."""
    logits = torch.cat((SURE, UNSURE, SURE, SURE))
    alone = controller()
    run_steps(alone, logits, 1)
    ranks = [controller(), controller()]
    shares = logits.chunk(2)
    sums_by_rank: list[torch.Tensor] = []
    for adaptive, share in zip(ranks, shares, strict=True):
        adaptive.observe(share, reduce=lambda sums: sums_by_rank.append(sums.clone()) or torch.zeros_like(sums))
    for adaptive in ranks:
        adaptive.load_state_dict({**adaptive.state_dict(), "sums": sums_by_rank[0] + sums_by_rank[1]})
        adaptive.update(100)
        assert torch.equal(adaptive.probability, alone.probability)


def test_logits_keep_no_graph() -> None:
    adaptive = controller()
    adaptive.observe(torch.ones(4, requires_grad=True) * 2)
    adaptive.update(100)
    assert not adaptive.probability.requires_grad
