"""Validates a search space before the first trial."""

import random
from collections.abc import Iterator
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import ValidationError

from models.bundle import ImageSpec
from models.networks import build_discriminator, build_generator
from training.config.files import error_messages
from training.config.schema import Config
from training.data.checks import check_data
from training.data.dataset import TrainingImages
from training.errors import TrainingError
from training.tuning.space.space import Choose, Space, Values

RANDOM_DRAWS = 300
"""Random corners of the space that are checked for contradicting settings."""


def validation_errors(space: Space, base: Config, data: TrainingImages) -> list[str]:
    """Returns every error that a draw from the space can have with this data.

    Checks the ends of every range and every choice, with all other parameters as in ``base`` if possible. If these are
    valid, checks ``RANDOM_DRAWS`` random combinations of ends.
    """
    errors: list[str] = []
    validator = _DrawValidator(space, base, data)
    for name, value, drawn in _ends(space, base):
        errors += [f"{name} {_text(value)}: {message}" for message in validator.errors(drawn, build=True)]
    if not errors:
        rng = random.Random(0)
        for _ in range(RANDOM_DRAWS):
            drawn = space.draw(base, lambda _, distribution: rng.choice(_extremes(distribution)))
            errors += validator.errors(drawn, build=False)
    return list(dict.fromkeys(errors))


def _ends(space: Space, base: Config) -> Iterator[tuple[str, Any, Values]]:
    """Yields each end of each parameter: the parameter, the end, and a draw with it."""
    preset = space.parameters_of(base)
    checked: set[str] = set()
    pending: list[Values] = [{}]
    while pending:
        forced = pending.pop()
        drawn: dict[str, BaseDistribution] = {}
        space.draw(base, _chooser({**preset, **forced}, drawn))
        for name, distribution in drawn.items():
            if name in checked:
                continue
            checked.add(name)
            for value in _extremes(distribution):
                with_end = {**forced, name: value}
                yield name, value, space.draw(base, _chooser({**preset, **with_end}, {}))
                if isinstance(distribution, CategoricalDistribution):
                    pending.append(with_end)  # a case may contain parameters that are still unchecked


def _chooser(values: Values, drawn: dict[str, BaseDistribution]) -> Choose:
    def choose(name: str, distribution: BaseDistribution) -> Any:
        drawn[name] = distribution
        return values[name] if name in values else _extremes(distribution)[0]

    return choose


def _extremes(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return [distribution.low, distribution.high]


class _DrawValidator:
    """Checks draws against the configuration, the networks and the data; networks of one shape are built once."""

    def __init__(self, space: Space, base: Config, data: TrainingImages) -> None:
        self._space, self._base, self._data = space, base, data
        self._errors: dict[str, list[str]] = {}

    def errors(self, drawn: Values, build: bool) -> list[str]:
        """Returns all errors of a draw; ``build`` also builds its networks, which is slow."""
        try:
            config = Config.model_validate({**self._space.values_of(drawn), "images": self._base.images})
        except ValidationError as error:
            return error_messages(error)
        except TrainingError as error:
            return [str(error)]
        if not build:
            return []
        key = f"{config.network.model_dump_json()} {config.batch_size} {config.conditional} {config.data.balance}"
        if key not in self._errors:
            self._errors[key] = self._network_errors(config)
        return self._errors[key]

    def _network_errors(self, config: Config) -> list[str]:
        side = config.data.resolution
        image = ImageSpec(height=side, width=side, channels=config.data.channels)
        labels = len(self._data.label_names or ()) if config.conditional else 0
        try:
            check_data(config, self._data)
            build_generator(config.network, image, labels)
            build_discriminator(config.network, image, labels)
        except (TrainingError, ValueError) as error:
            return [str(error)]
        return []


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
