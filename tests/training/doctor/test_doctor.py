"""The doctor names what goes wrong, soon after it begins, and stays silent about healthy runs."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from training.doctor.doctor import SURE, Doctor, Finding
from training.doctor.signals import Signals
from training.doctor.thresholds import WARM_UP_ROWS

Losses = list[tuple[int, float, float]]
Change = Callable[[int, float, float], tuple[float, float]]


def healthy(rows: int = 600, noise: float = 0.1, seed: int = 0) -> Losses:
    """Returns step, discriminator's and generator's loss: one falls slowly, the other rises slowly."""
    random, progress = np.random.RandomState(seed), np.arange(rows) / rows
    d_loss = 1.1 - 0.3 * progress + noise * random.randn(rows)
    g_loss = 1.0 + 0.2 * progress + 2 * noise * random.randn(rows)
    return [(100 * (row + 1), float(d_loss[row]), float(g_loss[row])) for row in range(rows)]


def changed_from(start: int, losses: Losses, change: Change) -> Losses:
    """Changes both losses from a row on; ``change`` takes the rows since then and both losses."""
    return [
        (step, *(change(row - start, d_loss, g_loss) if row >= start else (d_loss, g_loss)))
        for row, (step, d_loss, g_loss) in enumerate(losses)
    ]


def findings(losses: Losses, loss: str = "vanilla") -> list[Finding]:
    doctor = Doctor(loss)
    for row in losses:
        doctor.observe_losses(*row)
    return doctor.findings


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("noise", [0.02, 0.1, 0.2])
def test_healthy_runs_have_no_finding(seed: int, noise: float) -> None:
    assert findings(healthy(noise=noise, seed=seed)) == []


def _collapse(since: int, d_loss: float, g_loss: float) -> tuple[float, float]:
    return 0.05 * d_loss, g_loss + 4


def _fade(since: int, d_loss: float, g_loss: float) -> tuple[float, float]:
    return d_loss * 0.99**since, g_loss + 0.02 * since


def _bursts(since: int, d_loss: float, g_loss: float) -> tuple[float, float]:
    return (1.2 if since % 5 == 0 else 0.3) * d_loss, g_loss + 0.5


def _overwhelmed(since: int, d_loss: float, g_loss: float) -> tuple[float, float]:
    return 4 * d_loss, g_loss - 0.5


def _explode(since: int, d_loss: float, g_loss: float) -> tuple[float, float]:
    return d_loss, g_loss * 1.05**since


def _swing(since: int, d_loss: float, g_loss: float) -> tuple[float, float]:
    return d_loss * (1 + 0.9 * math.sin(since)), g_loss


def _freeze(since: int, d_loss: float, g_loss: float) -> tuple[float, float]:
    return 0.7, 0.9


@pytest.mark.parametrize(
    ("condition", "change"),
    [
        ("discriminator_overpowers", _collapse),
        ("discriminator_overpowers", _fade),
        ("discriminator_overpowers", _bursts),
        ("divergence", _overwhelmed),
        ("divergence", _explode),
        ("oscillation", _swing),
        ("data_fault", _freeze),
    ],
)
def test_names_what_begins_in_the_middle_of_a_run(condition: str, change: Change) -> None:
    found = findings(changed_from(300, healthy(), change))
    assert condition in [finding.condition.name for finding in found]
    first = next(finding for finding in found if finding.condition.name == condition)
    assert 30_000 < first.began < first.step < 52_000
    assert first.evidence


def test_a_sudden_collapse_is_reported_within_forty_rows() -> None:
    found = findings(changed_from(300, healthy(), _collapse))
    assert found[0].step <= 34_000


def test_reports_do_not_depend_on_the_unit_of_the_losses() -> None:
    """Ratios and spreads have no unit, so an unknown loss of another size gives the same alarm."""
    losses = changed_from(300, healthy(), _fade)
    scaled = [(step, 1_000 * d_loss, 1_000 * g_loss) for step, d_loss, g_loss in losses]
    assert [finding.step for finding in findings(losses, "unknown")] == [
        finding.step for finding in findings(scaled, "unknown")
    ]


def test_reports_do_not_depend_on_the_unit_of_the_steps() -> None:
    """A run of batch 1 024 takes a sixteenth of the steps. Windows count rows, so it is seen at the same rows."""
    losses = changed_from(300, healthy(), _fade)
    fewer = [(step // 100, d_loss, g_loss) for step, d_loss, g_loss in losses]
    assert [finding.step // 100 for finding in findings(losses)] == [finding.step for finding in findings(fewer)]


@pytest.mark.parametrize(("score", "reported"), [(None, False), (10.0, False), (60.0, True)])
def test_losses_of_a_coin_toss_are_a_weak_discriminator_only_where_the_score_is_near_that_of_noise(
    score: float | None, reported: bool
) -> None:
    """The losses of a generator that has won are the same, and most runs that reach them are good ones."""
    doctor = Doctor("vanilla")
    for step, d_loss, g_loss in healthy():
        doctor.observe(Signals(step, 2 * math.log(2) + 0.001 * d_loss, math.log(2) + 0.001 * g_loss))
        if step == 30_000 and score:
            doctor.observe(Signals(step, score=score, noise_score=100.0))
    assert [found.condition.name for found in doctor.findings] == ["discriminator_too_weak"] * reported


@pytest.mark.parametrize(("g_loss", "named"), [(0.02, ["discriminator_too_weak"]), (0.9, [])])
def test_a_discriminator_worse_than_chance_is_weak_only_where_the_generator_has_no_loss_left(
    g_loss: float, named: list[str]
) -> None:
    """A classifier's loss, which some GANs add, is no error of the discriminator's."""
    rows = [(step, 2 * math.log(2) + 2 + 0.1 * d_loss, g_loss + 0.001 * rise) for step, d_loss, rise in healthy()]
    assert [found.condition.name for found in findings(rows)] == named
    assert findings(rows, "unknown") == []


def critic(early: float, late: float) -> Losses:
    """Returns a critic's losses, which are above 0 in these shares of rows in the first half and the second."""
    random = np.random.RandomState(0)
    shares = np.cumsum(np.where(np.arange(600) < 300, early, late))
    signs = np.where(np.diff(np.floor(shares), prepend=0) > 0, 1.0, -1.0)  # evenly spread, without stretches of luck
    return [(row, float(signs[row] * (1 + random.rand())), float(random.randn())) for row in range(600)]


@pytest.mark.parametrize(
    ("early", "late", "reported"),
    [
        (0.05, 0.05, False),
        (0.05, 0.55, True),
        (0.7, 0.4, False),  # it decides ever better
        (0.7, 0.7, False),  # it lags behind
        (0.97, 0.97, True),
    ],
)
def test_a_critic_is_reported_when_it_can_no_longer_decide_or_is_always_wrong(
    early: float, late: float, reported: bool
) -> None:
    assert {found.condition.name for found in findings(critic(early, late), "wasserstein")} == (
        {"critic_drift"} if reported else set()
    )


def test_a_distance_that_shrinks_is_no_divergence() -> None:
    """A Wasserstein critic's loss rises to 0 as the images get better, and the generator's has a free level."""
    losses = changed_from(300, healthy(), lambda since, d, g: (d + 2 * min(1, since / 20), g - 2))
    shrinking = [(step, d_loss - 4, g_loss) for step, d_loss, g_loss in losses]
    assert findings(shrinking, "wasserstein") == []


def test_a_critic_whose_distance_vanishes_is_reported() -> None:
    random = np.random.RandomState(0)
    shrinking = [(row, float(-2 * 0.99**row + 0.1 * random.randn()), float(random.randn())) for row in range(600)]
    assert [finding.condition.name for finding in findings(shrinking, "wasserstein")] == ["critic_drift"]
    assert findings([(row, -2 + 0.1 * float(random.randn()), 0.1 * row) for row in range(600)], "wasserstein") == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_reported_at_once_even_in_the_first_row(value: float) -> None:
    doctor = Doctor("hinge")
    [found] = doctor.observe_losses(1, 0.5, value)
    assert (found.condition.name, found.step, found.confidence) == ("not_finite", 1, SURE)
    assert doctor.observe_losses(2, value, value) == [], "once, not in every row"


def test_nothing_is_reported_in_the_first_rows() -> None:
    wild = [(row, 10.0 ** -(row % 7), 10.0 ** (row % 5)) for row in range(WARM_UP_ROWS)]
    assert findings(wild) == []


def test_one_check_is_no_finding() -> None:
    """Twenty-five wild rows fill one check but not two: hysteresis."""
    short = changed_from(300, healthy(), lambda since, d, g: (0.4 * d, g) if since < 12 else (d, g))
    assert findings(short) == []


def test_a_condition_is_reported_again_only_after_it_was_over() -> None:
    twice = changed_from(300, healthy(900), lambda since, d, g: _collapse(since, d, g) if since % 300 < 100 else (d, g))
    steps = [f.step for f in findings(twice) if f.condition.name == "discriminator_overpowers"]
    assert len(steps) == 2
    assert 30_000 < steps[0] < 40_000
    assert 60_000 < steps[1] < 70_000


def test_scores_that_worsen_twice_are_late_degradation() -> None:
    doctor = Doctor("vanilla")
    for step, score in enumerate([50.0, 20.0, 10.0, 14.0, 11.0, 14.0, 15.0]):
        doctor.observe(Signals(step, score=score))
    [found] = doctor.findings
    assert (found.condition.name, found.began, found.step) == ("late_degradation", 5, 6)


@pytest.mark.parametrize(
    ("coverages", "collapsed"), [([0.1, 0.6, 0.5, 0.2, 0.1], True), ([0.0, 0.01, 0.004, 0.0, 0.0], False)]
)
def test_coverage_that_is_lost_is_mode_collapse(coverages: list[float], collapsed: bool) -> None:
    """What the run never had it cannot lose: near 0, coverage counts a few images more or less."""
    doctor = Doctor("vanilla")
    for step, coverage in enumerate(coverages):
        doctor.observe(Signals(step, coverage=coverage))
    assert [found.condition.name for found in doctor.findings] == ["mode_collapse"] * collapsed


@pytest.mark.parametrize(("held_out", "reported"), [(2.9, False), (1.6, False), (0.9, True), (-1.0, True)])
def test_held_out_logits_near_those_of_generated_images_are_overfitting(held_out: float, reported: bool) -> None:
    doctor = Doctor("vanilla")
    for step in range(3):
        doctor.observe(Signals(step, train_logit=3.0, held_out_logit=held_out, fake_logit=0.0))
    assert [found.condition.name for found in doctor.findings] == ["discriminator_overfits"] * reported


def test_a_discriminator_that_tells_nothing_apart_has_memorised_nothing() -> None:
    """The ratio of two differences near 0 is noise."""
    doctor = Doctor("vanilla")
    for step in range(3):
        doctor.observe(Signals(step, train_logit=0.052, held_out_logit=0.048, fake_logit=0.049))
    assert doctor.findings == []


def test_a_generator_without_gradient_is_reported() -> None:
    doctor = Doctor("minimax")
    for step, d_loss, g_loss in healthy():
        doctor.observe(Signals(step, d_loss, g_loss, g_gradient=1.0 if step < 30_000 else 1e-5))
    assert [found.condition.name for found in doctor.findings] == ["vanished_gradient"]
