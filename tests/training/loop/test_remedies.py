"""A treatment changes few settings, by a bounded amount, to others that are valid."""

import pytest

from training.config.files import load_config
from training.doctor.conditions import CONDITIONS
from training.loop.remedies import MAX_PENALTY, REMEDIES, changes_of
from training.loop.treatment import Treatment, treated_config

PLAIN = ["network.discriminator_norm=none", "regularization.r1=0", "regularization.interval=1", "judge=null"]
RATES = ["discriminator_optimizer.learning_rate={}", "generator_optimizer.learning_rate={}"]


def test_every_condition_names_remedies_that_exist() -> None:
    assert {remedy for condition in CONDITIONS.values() for remedy in condition.remedies} <= REMEDIES.keys()


@pytest.mark.parametrize(
    ("remedy", "settings", "changes"),
    [
        ("regularise", [], {"regularization.r1": [0.0, 1.0]}),
        ("regularise", ["regularization.r1=2"], {"regularization.r1": [2.0, 8.0]}),
        ("regularise", ["regularization.r1=0.000001"], {"regularization.r1": [0.000001, 0.1]}),
        (
            "regularise",
            ["loss=relativistic", "regularization.r1=0.1", "regularization.r2=0.1"],
            {"regularization.r1": [0.1, 0.4], "regularization.r2": [0.1, 0.4]},
        ),
        (
            "regularise",
            ["loss=wasserstein", "network.discriminator_norm=spectral"],
            {"regularization.gradient_penalty": [0.0, 10.0]},
        ),
        (
            "regularise",
            ["loss=wasserstein", "regularization.r1=0.000001"],  # a bound by its name only
            {"regularization.gradient_penalty": [0.0, 10.0]},
        ),
        ("regularise", [f"regularization.r1={MAX_PENALTY / 2}"], None),
        ("regularise", ["network.discriminator_norm=batch"], None),
        (
            "slow_down",
            [RATES[0].format(0.004), RATES[1].format(0.003)],
            {
                "generator_optimizer.learning_rate": [0.003, 0.00075],
                "discriminator_optimizer.learning_rate": [0.004, 0.001],
            },
        ),
        ("slow_down", [RATES[0].format(0.000001), RATES[1].format(0.000001)], None),
        ("slow_discriminator", [RATES[0].format(0.002)], {"discriminator_optimizer.learning_rate": [0.002, 0.0005]}),
        ("augment", [], {"augmentation.diff_augment": [[], ["translation"]]}),
        ("augment", ["augmentation.adaptive.target=0.6"], None),
        ("roll_back", [], {}),
    ],
)
def test_remedies(remedy: str, settings: list[str], changes: dict[str, list[object]] | None) -> None:
    found = changes_of(remedy, load_config("digits", [*PLAIN, *settings]))
    assert (found is None) == (changes is None)
    assert (found or {}).keys() == (changes or {}).keys()
    for key, values in (changes or {}).items():
        assert found is not None
        assert found[key] == (values if isinstance(values[0], list) else pytest.approx(values)), key


def test_treatments_build_on_each_other_and_yield_to_the_user() -> None:
    config = load_config("digits", PLAIN)
    treatments = [
        Treatment(100, "divergence", "regularise", {"regularization.r1": [0.0, 1.0]}),
        Treatment(200, "divergence", "regularise", {"regularization.r1": [1.0, 4.0]}),
    ]
    assert treated_config(config, treatments).regularization.r1 == 4
    assert treated_config(config, ()) is config
    changed = load_config("digits", [*PLAIN, "regularization.r1=0.5"])
    assert treated_config(changed, treatments).regularization.r1 == 0.5
