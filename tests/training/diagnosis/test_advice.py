"""Advice can be typed as it stands."""

import pytest

from training.config.files import load_config
from training.doctor.conditions import CONDITIONS

SETTINGS = sorted({setting for condition in CONDITIONS.values() for setting in condition.settings})


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_of_the_advice_is_one_that_fit_takes(setting: str) -> None:
    """Without batch normalisation, which excludes the gradient penalty."""
    load_config("digits", ["network.discriminator_norm=none", setting])
