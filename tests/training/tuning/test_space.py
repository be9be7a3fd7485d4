"""A space of settings: read from YAML, drawn from, and validated with all its errors before the first trial."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from tests.training.tuning.conftest import SPACE
from training.config.files import known_keys, parse_config
from training.config.schema import Config
from training.data.dataset import TrainingImages
from training.tuning.space.reading import dump_space, read_space
from training.tuning.space.space import Space
from training.tuning.space.validation import validation_errors
from training.tuning.spaces import SPACES


def base_of(space: Space) -> Config:
    return parse_config(space.base_values(), "space")


def write(path: Path, **changes: Any) -> str:
    path.write_text(yaml.safe_dump({**SPACE, **changes}, sort_keys=False))
    return str(path)


def drawing(rng: random.Random) -> Callable[[str, BaseDistribution], Any]:
    def choose(name: str, distribution: BaseDistribution) -> Any:
        if isinstance(distribution, CategoricalDistribution):
            return rng.choice(distribution.choices)
        if isinstance(distribution, IntDistribution):
            return rng.randint(distribution.low, distribution.high)
        assert isinstance(distribution, FloatDistribution)
        return rng.uniform(distribution.low, distribution.high)

    return choose


@given(st.integers(0, 10_000))
def test_every_draw_lies_in_the_space(seed: int) -> None:
    space = Space.model_validate(SPACE)
    base = base_of(space)
    drawn = space.draw(base, drawing(random.Random(seed)))
    rate = drawn["generator_optimizer.learning_rate"]
    assert 1e-4 <= rate <= 1e-2
    assert 0.25 * rate <= drawn["discriminator_optimizer.learning_rate"] <= 4 * rate
    assert drawn["discriminator_optimizer.beta1"] == drawn["generator_optimizer.beta1"]
    assert set(drawn) <= set(known_keys()), "the name of a case is no setting"
    parse_config(space.values_of(drawn), "a draw")


def test_parameters_of_a_case_are_drawn_only_within_it() -> None:
    space = Space.model_validate(SPACE)
    drawn_names: dict[str, list[str]] = {"none": [], "r1": []}
    for case, names in drawn_names.items():

        def choose(name: str, distribution: BaseDistribution, case: str = case, names: list[str] = names) -> Any:
            names.append(name)
            if name == "penalty":
                return case
            return distribution.choices[0] if isinstance(distribution, CategoricalDistribution) else distribution.low  # type: ignore[attr-defined]

        assert ("regularization.r1" in space.draw(base_of(space), choose)) == (case == "r1")
    assert set(drawn_names["r1"]) - set(drawn_names["none"]) == {"regularization.r1 (r1)"}


def test_the_presets_parameters_are_found() -> None:
    """Drawing the preset's parameters gives the preset, so trial 0 has its position in the space."""
    space = Space.model_validate(SPACE)
    base = base_of(space)
    preset = space.parameters_of(base)
    assert preset == {
        "generator_optimizer.learning_rate": base.generator_optimizer.learning_rate,
        "discriminator_optimizer.learning_rate ratio": (
            base.discriminator_optimizer.learning_rate / base.generator_optimizer.learning_rate
        ),
        "generator_optimizer.beta1": base.generator_optimizer.beta1,
        "penalty": "none",
    }
    drawn = space.draw(base, lambda name, _: preset[name])
    assert parse_config(space.values_of(drawn), "preset") == base


def test_parameters_whose_range_excludes_the_preset_are_left_out() -> None:
    search = {**SPACE["search"], "generator_optimizer.learning_rate": {"low": 0.005, "high": 0.01}}  # type: ignore[dict-item]
    space = Space.model_validate({**SPACE, "search": search})
    assert "generator_optimizer.learning_rate" not in space.parameters_of(base_of(space))


def test_a_dumped_space_reads_back_equal(tmp_path: Path) -> None:
    space, _ = read_space(write(tmp_path / "space.yaml"))
    (tmp_path / "again.yaml").write_text(dump_space(space))
    assert read_space(str(tmp_path / "again.yaml")) == (space, [])


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("preset: digits\nsearch: {generator_optimizer.learning_rate: {low: 5e-5, high: 2e-3, log: true}}")
    (part,) = read_space(str(path))[0].search.values()
    assert part.distribution == FloatDistribution(5e-5, 2e-3, log=True)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [path.stem for path in SPACES.glob("*.yaml")])
def test_the_spaces_that_ship_are_valid(name: str, small_digits: TrainingImages) -> None:
    """On data of sufficient size and the right kind for their presets."""
    space, errors = read_space(name)
    assert not errors
    base = base_of(space)
    side, channels = base.data.resolution, base.data.channels
    images = small_digits.images.repeat(side // 16, 1).repeat(side // 16, 2).repeat(channels, 3)
    data = TrainingImages("data", "0" * 64, images, small_digits.labels, small_digits.label_names)
    assert validation_errors(space, base, data) == []


def test_all_errors_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    search = {
        "generator_optimizer.learning_rat": {"low": 0.1, "high": 0.2},
        "network.noise_dim": {"low": 9, "high": 3},
        "loss": {"choices": ["hinge"]},
        "generator_optimizer.beta1": {"low": 0.0, "high": 1.0, "log": True},
        "generator_optimizer.beta2": {"low": 0.0, "high": 1.0, "lag": True},
        "seed": {"low": 1, "high": 3},
        "conditional": {"cases": {"a": {}, "b": {"los": {"value": "hinge"}}}},
        "batch_size": {"times": "discriminator_steps", "low": 1, "high": 2},
        "discriminator_steps": {"low": 1, "high": 2},
        "discriminator_optimizer.beta1": {"same_as": "beta1"},
        "discriminator_optimizer.beta2": {"choices": [0.9, 0.99]},
    }
    space, errors = read_space(write(tmp_path / "space.yaml", search=search, settings={"widht": 3}))
    for message in (
        "search.network.noise_dim: low must be below high, and 9 is not below 3",
        "search.loss.choices: tuple should have at least 2 items",
        "search.generator_optimizer.beta1: a logarithmic range begins above 0",
        "search.generator_optimizer.beta2.lag: unknown entry",
        "there is no setting widht",
        "there is no setting generator_optimizer.learning_rat; did you mean generator_optimizer.learning_rate?",
        "seed cannot be searched: scores compare only if it is the same for all trials",
        "conditional is a setting, but the key of cases must not be one",
        "there is no setting los; did you mean loss?",
        "batch_size refers to discriminator_steps, which must stand above it",
        "discriminator_optimizer.beta1: there is no setting beta1",
    ):
        assert any(message in found for found in errors), (message, errors)
    assert set(space.search) == {"discriminator_steps", "discriminator_optimizer.beta2"}, "valid parts remain"


def test_invalid_ends_are_reported_at_once(small_digits: TrainingImages) -> None:
    search = {
        "generator_optimizer.learning_rate": {"low": 0.1, "high": 3.0},
        "batch_size": {"low": 16, "high": 1024, "log": True},
        "discriminator_steps": {"choices": [1, 50]},
        "family": {"cases": {"mlp": {}, "big": {"network.width": {"low": 0, "high": 64}}}},
    }
    space = Space.model_validate({**SPACE, "search": search})
    errors = validation_errors(space, base_of(space), small_digits)
    for message in (
        "generator_optimizer.learning_rate 3: generator_optimizer.learning_rate: input should be less than",
        "batch_size 1024: the data holds 512 images, fewer than one batch",
        "discriminator_steps 50: discriminator_steps: input should be less than or equal to 20",
        "network.width (big) 0: network.width: input should be greater than",
    ):
        assert any(message in found for found in errors), (message, errors)


def test_contradicting_settings_are_found(small_digits: TrainingImages) -> None:
    search = {
        "loss": {"choices": ["non_saturating", "hinge"]},
        "regularization.label_smoothing": {"choices": [0.0, 0.1]},
    }
    space = Space.model_validate({**SPACE, "search": search})
    (message,) = validation_errors(space, base_of(space), small_digits)
    assert "label_smoothing softens a target, and loss hinge has none" in message


def test_networks_that_cannot_be_built_are_found(small_digits: TrainingImages) -> None:
    search = {"network.family": {"choices": ["mlp", "dcgan"]}}
    settings = {"data.fit": "crop", "data.resolution": 24}
    space = Space.model_validate({"preset": "digits", "settings": settings, "search": search})
    errors = validation_errors(space, base_of(space), small_digits)
    assert any("dcgan generates square images with a side of" in message for message in errors)
