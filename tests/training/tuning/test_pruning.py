"""Successive halving prunes from the first rung on; failures need no comparison."""

from itertools import pairwise
from typing import Any

import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from training.tuning.study.pruning import ETA, AshaPruner, rungs
from training.tuning.trial.failures import NOISE_VECTORS, FailureDetector
from training.tuning.trial.run import FIRST_RUNG, judge_every

RUNGS = [150, 450]


def study_with(values: list[float], state: TrialState = TrialState.PRUNED) -> optuna.Study:
    """A study whose trials have reached the first rung with these values, after a preset that has not."""
    study = optuna.create_study(pruner=AshaPruner(RUNGS))
    study.add_trial(create_trial(state=TrialState.FAIL))
    for value in values:
        study.add_trial(create_trial(state=state, intermediate_values={150: value}))
    return study


def prunes(study: optuna.Study, value: float, step: int = 150, **attributes: Any) -> bool:
    trial = study.ask()
    for name, attribute in attributes.items():
        trial.set_user_attr(name, attribute)
    trial.report(value, step)
    return trial.should_prune()


@given(st.integers(20, 10**8))
def test_rungs_begin_at_15_percent_and_triple(images: int) -> None:
    found = rungs(images)
    assert found[0] / images == pytest.approx(FIRST_RUNG, abs=1 / images)
    assert all(later == ETA * earlier for earlier, later in pairwise(found))
    assert all(rung % judge_every(images) == 0 for rung in found), "each rung is a scoring"
    assert found[-1] < images <= found[-1] * ETA


@given(st.lists(st.floats(0, 100), min_size=2, max_size=12), st.floats(0, 100))
def test_at_a_rung_the_best_third_continues(values: list[float], value: float) -> None:
    """Against the definition: among all values in order, the first third, rounded up."""
    best = sorted([*values, value])[: -(-(len(values) + 1) // 3)]
    tied = value in values
    if not tied:
        assert prunes(study_with(values), value) == (value not in best)


def test_the_first_two_at_a_rung_continue() -> None:
    assert not prunes(study_with([]), 9)
    assert not prunes(study_with([1]), 9)
    assert prunes(study_with([1, 2]), 9)


def test_trials_are_compared_only_at_rungs() -> None:
    for step in (1, 149, 151, 300, 600):
        assert not prunes(study_with([1, 2, 3]), 9, step=step)


def test_the_preset_is_never_pruned() -> None:
    assert not prunes(study_with([1, 2, 3]), 9, identity=0)


def test_a_failed_attempt_does_not_count_beside_the_next_one() -> None:
    assert not prunes(study_with([1, 2, 3, 4], state=TrialState.FAIL), 9)


class StubGenerator(torch.nn.Linear):
    """A generator of 8 × 8 images: ``constant`` + ``spread`` · noise's first number, in training mode noise as well."""

    def __init__(self, constant: float, spread: float) -> None:
        super().__init__(1, 1)
        self.constant, self.spread = constant, spread

    def forward(self, noise: torch.Tensor, label: object = None, truncation: object = None) -> torch.Tensor:
        if self.training:
            return torch.rand(len(noise), 1, 8, 8)
        return (self.constant + self.spread * noise[:, :1, None, None]).expand(-1, 1, 8, 8)


@pytest.mark.parametrize("labels", [0, 2, 10])
def test_one_image_for_every_noise_is_a_failure_after_the_first_steps(labels: int) -> None:
    detector = FailureDetector(4, labels, 10_000, 2)
    assert detector.check(399, StubGenerator(0.1, 0.001)) is None, "a fresh generator may"
    assert detector.check(400, StubGenerator(0.5, 0.3)) is None
    assert detector.check(600, StubGenerator(0.2, 0.001)) == "one image for every noise, after 600 images"


def test_one_image_for_each_label_is_still_one_image_for_every_noise() -> None:
    class ByLabel(StubGenerator):
        def forward(self, noise: torch.Tensor, label: object = None, truncation: object = None) -> torch.Tensor:
            assert isinstance(label, torch.Tensor)
            assert label.bincount().tolist() == [NOISE_VECTORS] * 4
            return (label / 10)[:, None, None, None].expand(-1, 1, 8, 8)

    detector = FailureDetector(4, 10, 10_000, 1)
    assert detector.check(1000, ByLabel(0, 0)) == "one image for every noise, after 1000 images"


def test_a_stalled_generator_is_a_failure_in_the_first_half_of_the_budget() -> None:
    detector, generator = FailureDetector(4, 10, 10_000, 1), StubGenerator(0, 0.3).train()
    assert detector.check(1000, generator) is None
    assert detector.check(1500, generator) == "the generator no longer changes, after 1500 images"
    assert generator.training, "its mode is restored"
    assert detector.check(6000, generator) is None, "a decayed learning rate brings it to rest"


def test_a_generator_that_learns_is_no_failure() -> None:
    detector = FailureDetector(4, 10, 10_000, 1)
    for number in range(1, 20):
        assert detector.check(500 * number, StubGenerator(number / 100, 0.3)) is None
