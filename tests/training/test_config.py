"""A configuration is complete, comes back equal, and refuses what it does not know."""

import re

import pytest
import yaml

from training.config import dump_config, load_config, parse_config, preset_names
from training.errors import TrainingError


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_is_valid_and_comes_back_equal(preset: str) -> None:
    config = load_config(preset)
    assert config.name == preset
    assert parse_config(yaml.safe_load(dump_config(config)), "dump") == config


def test_settings_lie_over_the_preset() -> None:
    config = load_config("digits", ["loss=minimax", "generator_optimizer.learning_rate=1e-3", "network.width=32"])
    assert (config.loss, config.generator_optimizer.learning_rate, config.network.width) == ("minimax", 0.001, 32)
    assert config.generator_optimizer.beta1 == load_config("digits").generator_optimizer.beta1


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("los=minimax", "there is no setting los; did you mean loss?"),
        ("network.widht=8", "there is no setting network.widht; did you mean network.width?"),
        ("batch_size=1", "batch_size: input should be greater than or equal to 2"),
        ("loss=hinj", "loss: input should be 'minimax', 'non_saturating' or 'least_squares'"),
        ("generator_optimizer.learning_rate=nan", "generator_optimizer.learning_rate: input should be"),
        ("seed", "--set takes key=value, not 'seed'"),
        ("seed.deep=1", "seed holds no settings of its own"),
        ("seed=[", "--set seed is not valid YAML"),
        ("name=../up", "name: string should match pattern"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, sentence: str) -> None:
    with pytest.raises(TrainingError, match=re.escape(sentence)):
        load_config("digits", [setting])


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(TrainingError, match=r"batch_size.*; .*no setting los"):
        load_config("digits", ["batch_size=0", "los=x"])


def test_a_missing_preset_names_those_there_are() -> None:
    with pytest.raises(TrainingError, match=r"the presets are .*digits"):
        load_config("digitz")
