"""A configuration is complete, comes back equal, and refuses what it does not know."""

import re

import pytest
import torch
import yaml

from training.config.files import dump_config, known_keys, load_config, parse_config
from training.config.presets import preset_names
from training.errors import TrainingError
from training.loop.state import TrainingState


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_is_valid_and_round_trips(preset: str) -> None:
    config = load_config(preset)
    assert config.name == preset
    assert parse_config(yaml.safe_load(dump_config(config)), "dump") == config


def test_settings_override_the_preset() -> None:
    config = load_config("digits", ["loss=minimax", "generator_optimizer.learning_rate=1e-3", "network.width=32"])
    assert (config.loss, config.generator_optimizer.learning_rate, config.network.width) == ("minimax", 0.001, 32)
    assert config.generator_optimizer.beta1 == load_config("digits").generator_optimizer.beta1


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("los=minimax", "there is no setting los; did you mean loss?"),
        ("network.widht=8", "there is no setting network.widht; did you mean network.width?"),
        ("batch_size=1", "batch_size: input should be greater than or equal to 2"),
        (
            "loss=hinj",
            "loss: input should be 'minimax', 'non_saturating', 'least_squares', 'hinge', ",
        ),
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


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(TrainingError, match=r"batch_size.*; .*no setting los"):
        load_config("digits", ["batch_size=0", "los=x"])


def test_a_missing_preset_names_those_there_are() -> None:
    with pytest.raises(TrainingError, match=r"the presets are .*digits"):
        load_config("digitz")


def test_a_setting_of_another_family_is_not_known_to_this_one() -> None:
    with pytest.raises(TrainingError, match=r"there is no setting network\.mapping_layers"):
        load_config("digits", ["network.mapping_layers=2"])
    assert {"network.mapping_layers", "network.width", "regularization.r1"} <= set(known_keys())


def test_another_family_keeps_the_noise_and_brings_its_own_sizes() -> None:
    config = load_config("digits", ["network.family=stylegan2", "network.width=16"])
    assert (config.network.family, config.network.noise_dim) == ("stylegan2", 64)
    assert config.network.model_dump()["width"] == 16


def test_a_part_that_is_off_can_be_set() -> None:
    config = load_config("digits", ["augmentation.adaptive.target=0.5", "judge=null"])
    assert config.augmentation.adaptive is not None
    assert config.augmentation.adaptive.target == 0.5
    assert config.judge is None


BATCH_NORM = ["network.discriminator_norm=batch", "regularization.r1=0"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ["regularization.gradient_penalty=10", *BATCH_NORM],
            "batch normalisation makes every logit depend on the whole batch",
        ),
        (["loss=wasserstein", *BATCH_NORM], "loss wasserstein grows without bound"),
        (["loss=hinge", "regularization.label_smoothing=0.1"], "loss hinge has none"),
        (["loss=relativistic", "regularization.label_smoothing=0.1"], "loss relativistic has none"),
        (["loss=relativistic", "augmentation.adaptive={}"], "its logits have no zero"),
        (
            ["augmentation.adaptive={}", "augmentation.diff_augment=[color]"],
            "augmentation.adaptive and augmentation.diff_augment are two ways to do the same: set one",
        ),
        (
            ["augmentation.scheduled.probability=0.5", "augmentation.diff_augment=[color]"],
            "augmentation.diff_augment and augmentation.scheduled are two ways to do the same: set one",
        ),
        (
            ["regularization.path_length=2"],
            "regularization.path_length works on the styles of stylegan2, and dcgan has none: set it to 0",
        ),
        (
            ["regularization.style_mixing=0.9", "network.family=r3gan"],
            "regularization.style_mixing works on the styles",
        ),
        (
            ["generator_optimizer.final_beta2=0.9", "generator_optimizer.schedule=constant"],
            "final_beta2 is never reached under a constant schedule: set schedule",
        ),
        (["images=128", "discriminator_steps=5"], "spent before the generator's first step"),
        (["ema.half_lives=[10,10]"], "half_lives must differ"),
    ],
)
def test_a_contradiction_is_rejected_with_the_reason(settings: list[str], sentence: str) -> None:
    with pytest.raises(TrainingError, match=re.escape(sentence)):
        load_config("digits", settings)


@pytest.mark.parametrize(
    "settings",
    [
        ["regularization.gradient_penalty=10", "network.discriminator_norm=none", "loss=wasserstein"],
        ["loss=wasserstein", "network.discriminator_norm=spectral", "regularization.r1=0"],
        ["loss=wasserstein", "network.family=sngan", "regularization.r1=0"],
        ["loss=wasserstein", "regularization.r1=1"],
        ["loss=least_squares", "regularization.label_smoothing=0.1", "augmentation.adaptive={}"],
        ["regularization.r1=10"],
    ],
)
def test_a_combination_that_theory_allows_is_allowed(settings: list[str]) -> None:
    load_config("digits", settings)


@pytest.mark.parametrize("preset", preset_names())
def test_every_presets_networks_fit_its_images(preset: str) -> None:
    config = load_config(preset)
    state = TrainingState(config, 10 if config.conditional else 0, torch.device("cpu"))
    assert sum(weight.numel() for weight in state.generator.parameters()) * 4 < 64 * 2**20, (
        "a bundle of reasonable size"
    )


@pytest.mark.parametrize(
    ("settings", "gamma"),
    [
        (["regularization.r1=auto"], 0.0002 * 32**2 / 32),
        (["regularization.r1=auto", "data.resolution=64", "batch_size=16"], 0.0002 * 64**2 / 16),
        (["regularization.r1=0.3"], 0.3),
    ],
)
def test_auto_r1_follows_resolution_and_batch(settings: list[str], gamma: float) -> None:
    """StyleGAN2-ADA's heuristic. The configuration of a run holds the number, so that a resume keeps it."""
    config = load_config("digits", settings)
    assert config.regularization.r1 == pytest.approx(gamma)
    assert yaml.safe_load(dump_config(config))["regularization"]["r1"] == config.regularization.r1


def test_auto_r1_bounds_the_slope_of_a_critic() -> None:
    load_config("digits", ["loss=wasserstein", "regularization.r1=auto"])


@pytest.mark.parametrize("settings", [["regularization.r1=automatic"], ["regularization.r1=auto", "batch_size=x"]])
def test_any_other_r1_is_an_error(settings: list[str]) -> None:
    with pytest.raises(TrainingError, match=r"regularization.r1: must be a number, or auto"):
        load_config("digits", settings)
