"""When a finding calls for a treatment, when a run is lost, and when it was a false alarm."""

import pytest

from training.doctor import thresholds as limit
from training.doctor.case import Case
from training.doctor.conditions import CONDITIONS
from training.doctor.doctor import LIKELY, Doctor, Finding
from training.doctor.signals import Signals

FOUND = 1_000
NOISE = 100.0


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every doctor find that the discriminator wins at one step, without 50 rows before it."""

    def observe(self: Doctor, signals: Signals) -> list[Finding]:
        if signals.step != FOUND or signals.score is not None:
            return []
        self._watches["discriminator_overpowers"].reported = True
        return [Finding(CONDITIONS["discriminator_overpowers"], FOUND, FOUND - 100, LIKELY, "it wins")]

    monkeypatch.setattr(Doctor, "observe", observe)


def sick(judged: bool) -> Case:
    """Returns a run with a good score at 900, in which something is found at 1 000."""
    case = Case("hinge", judged)
    if judged:
        case.observe(Signals(900, score=10.0, noise_score=NOISE))
    case.observe(Signals(FOUND, 1.0, 1.0))
    return case


def score(case: Case, *scores: float, start: int = 1_100) -> int:
    """Adds scores, one every 100 steps, and returns the last step."""
    for number, value in enumerate(scores):
        case.observe(Signals(start + 100 * number, score=value, noise_score=NOISE))
    return start + 100 * (len(scores) - 1)


def names(findings: list[Finding]) -> list[str]:
    return [finding.condition.name for finding in findings]


def test_the_judge_must_confirm_a_finding() -> None:
    case = sick(judged=True)
    assert not case.to_treat(FOUND)
    assert not case.to_treat(score(case, 11.5, 11.5))
    step = score(case, 12.0, start=1_300)
    assert names(case.to_treat(step)) == ["discriminator_overpowers"]
    assert case.lost(step) is None
    assert case.lost(score(case, 13.0, start=1_400)) is not None


def test_a_run_that_swings_back_is_left_alone() -> None:
    """It has not reached its best again, but each swing ends by itself."""
    case = sick(judged=True)
    for number in range(5):
        step = score(case, 14.0, 30.0, 20.0, start=1_100 + 300 * number)
        assert not case.to_treat(step)
        assert case.lost(step) is None


def test_a_run_that_is_better_than_most_scores_since_its_best_recovers() -> None:
    """It falls from 40 to 24, by too little at a time to be better than the score before."""
    case = sick(judged=True)
    falling = [40.0, 36.0, 32.0, 28.0, 27.0, 26.0, 25.5, 25.0, 24.5, 24.0]
    for number, value in enumerate(falling):
        step = score(case, value, start=1_100 + 100 * number)
        assert not case.to_treat(step)
        assert case.lost(step) is None
    assert case.to_treat(score(case, 30.0, 31.0, 32.0, start=3_000)), "and then it does not"


def test_a_new_best_score_ends_a_finding() -> None:
    case = sick(judged=True)
    step = score(case, 12.0, 9.9, 12.0, 13.0, 14.0)
    assert not case.to_treat(step)
    assert case.lost(step) is None
    assert case.standing() == []
    assert names(case.findings) == ["discriminator_overpowers"], "it stays in the record"


def test_bad_scores_must_come_in_a_row_and_after_the_finding_began() -> None:
    case = sick(judged=True)
    assert not case.to_treat(score(case, 12.0, 12.0, 10.5, 12.0, 12.0, 10.5))
    early = Case("hinge", judged=True)
    score(early, 10.0, 12.0, 13.0, 14.0, start=500)
    early.observe(Signals(FOUND, 1.0, 1.0))
    assert not early.to_treat(FOUND)


def test_a_run_that_never_was_good_is_stuck() -> None:
    case = Case("hinge", judged=True)
    case.observe(Signals(900, score=80.0, noise_score=NOISE))
    case.observe(Signals(FOUND, 1.0, 1.0))
    assert case.to_treat(score(case, 79.0, 78.0)), "near noise, and hardly better: it has nothing to lose"
    assert not case.worse
    slow = Case("hinge", judged=True)
    slow.observe(Signals(900, score=80.0, noise_score=NOISE))
    slow.observe(Signals(FOUND, 1.0, 1.0))
    assert slow.to_treat(score(slow, 63.0, 60.0, 58.0, 55.0, 54.0)), "a better score near noise ends no finding"
    improving = Case("hinge", judged=True)
    improving.observe(Signals(900, score=80.0, noise_score=NOISE))
    improving.observe(Signals(FOUND, 1.0, 1.0))
    assert not improving.to_treat(score(improving, 63.0, 50.0))
    swinging = Case("hinge", judged=True)
    swinging.observe(Signals(900, score=80.0, noise_score=NOISE))
    swinging.observe(Signals(FOUND, 1.0, 1.0))
    assert swinging.to_treat(score(swinging, 78.0, 90.0, 75.0)), "a new best, but hardly better than long before"
    once_good = sick(judged=True)
    assert not once_good.to_treat(score(once_good, 79.0, 79.0)), "it has a best score to lose"


def test_without_a_judge_a_finding_must_stand_for_a_share_of_the_run() -> None:
    case = sick(judged=False)
    assert not case.to_treat(1_100)
    assert case.to_treat(1_120)
    assert case.lost(1_400) is None
    assert case.lost(1_440) is not None
    case._doctor._watches["discriminator_overpowers"].reported = False
    case.observe(Signals(1_450, 1.0, 1.0))
    assert case.lost(1_600) is None, "the rule no longer holds"


def test_after_a_treatment_that_goes_back_the_run_is_observed_anew() -> None:
    case = sick(judged=True)
    step = score(case, 12.0, 13.0, 14.0)
    case.treated(step, returned_to=900)
    assert case.standing() == []
    assert case.rows == 0
    assert case.best == 10.0, "its best score stays"
    assert not case.to_treat(score(case, *[14.0] * 8, start=1_400)), "bad scores without a finding"


def test_a_treatment_gets_twice_the_time() -> None:
    case = sick(judged=True)
    step = score(case, 12.0, 12.0, 12.0)
    for number in range(limit.MAX_TREATMENTS - 1):
        assert case.to_treat(step)
        case.treated(step, returned_to=None)
        start = 2_000 + 1_000 * number
        assert not case.to_treat(score(case, *[12.0] * 5, start=start))
        step = score(case, 12.0, start=start + 500)
    case.treated(step, returned_to=None)
    step = score(case, *[12.0] * 7, start=5_000)
    assert not case.to_treat(step), "three at most"
    assert case.lost(step) is None
    assert case.lost(score(case, 12.0, start=6_000)) is not None


def test_a_treated_run_that_recovers_is_left_alone() -> None:
    case = sick(judged=True)
    case.treated(score(case, 40.0, 60.0, 60.0), returned_to=None)
    assert not case.to_treat(score(case, 50.0, 40.0, 32.0, 25.0, 20.0, 16.0, 14.0, start=2_000))
    assert case.standing(), "but it has not reached its best"
