"""Advice can be typed as it stands, and fits the run that it is for."""

import itertools

import pytest

from training.config.files import load_config
from training.config.presets import preset_names
from training.doctor.conditions import CONDITIONS
from training.runs.advice import fitting_attempts

USUAL = sorted({attempt for condition in CONDITIONS.values() for attempt in condition.usual_attempts()})


@pytest.mark.parametrize("attempt", USUAL)
def test_every_usual_attempt_is_one_that_fit_takes(attempt: str) -> None:
    """Without batch normalisation, which excludes the gradient penalty."""
    load_config("digits", ["network.discriminator_norm=none", *_settings(attempt)])


@pytest.mark.parametrize(("preset", "condition"), list(itertools.product(preset_names(), CONDITIONS)))
def test_each_attempt_for_a_preset_is_taken_and_changes_it(preset: str, condition: str) -> None:
    config = load_config(preset)
    for attempt in fitting_attempts(CONDITIONS[condition], config):
        assert load_config(preset, _settings(attempt)) != config


@pytest.mark.parametrize(
    ("condition", "settings", "attempts"),
    [
        # A run has what is advised, or has gone further, or an attempt would take back what it has.
        ("oscillation", ["generator_optimizer.beta1=0"], {"generator_optimizer.beta1": None}),
        ("oscillation", ["discriminator_optimizer.beta2=0.9"], {"discriminator_optimizer.beta2": None}),
        ("oscillation", ["discriminator_optimizer.beta2=0.999"], {"discriminator_optimizer.beta2": "0.99"}),
        ("discriminator_overpowers", ["regularization.r1=3"], {"regularization.r1": "12"}),
        ("discriminator_overpowers", ["regularization.r1=0"], {"regularization.r1": "1"}),
        ("discriminator_overpowers", ["regularization.r1=80"], {"regularization.r1": None}),
        ("discriminator_overpowers", ["network.discriminator_norm=batch"], {"regularization.r1": None}),
        (
            "discriminator_overpowers",
            ["discriminator_optimizer.learning_rate=0.00004"],
            {"discriminator_optimizer.learning_rate": "1e-05"},
        ),
        ("discriminator_too_weak", ["regularization.r1=3"], {"regularization.r1": "0.1"}),
        ("discriminator_too_weak", ["regularization.r1=0.05"], {"regularization.r1": None}),
        ("discriminator_too_weak", ["discriminator_steps=3"], {"discriminator_steps": None}),
        (
            "discriminator_too_weak",
            ["discriminator_optimizer.learning_rate=0.001"],
            {"discriminator_optimizer.learning_rate": None},
        ),
        (
            "discriminator_overfits",
            ["augmentation.diff_augment=[color]"],
            {"augmentation.diff_augment": None, "augmentation.adaptive.target": None},
        ),
        ("discriminator_overfits", [], {"augmentation.diff_augment": "[translation]"}),
        ("mode_collapse", ["loss=hinge"], {"loss": "relativistic", "regularization.r2": "0.1"}),
        ("mode_collapse", ["loss=relativistic", "regularization.r2=1"], {"loss": None, "regularization.r2": None}),
        ("late_degradation", ["generator_optimizer.schedule=linear"], {"generator_optimizer.schedule": None}),
        (
            "late_degradation",
            ["generator_optimizer.schedule=constant", "generator_optimizer.final_share=1"],
            {"generator_optimizer.schedule": "cosine"},
        ),
        ("critic_drift", ["loss=wasserstein"], {"regularization.gradient_penalty": "10"}),
    ],
)
def test_advice_begins_at_the_settings_of_the_run(
    condition: str, settings: list[str], attempts: dict[str, str | None]
) -> None:
    given = ["network.discriminator_norm=none", "augmentation.diff_augment=[]", *settings]
    lines = fitting_attempts(CONDITIONS[condition], load_config("digits", given))
    advised = dict(setting.split("=") for line in lines for setting in _settings(line))
    assert {key: advised.get(key) for key in attempts} == attempts


def _settings(attempt: str) -> list[str]:
    return attempt.removeprefix("--set ").split(" --set ")
