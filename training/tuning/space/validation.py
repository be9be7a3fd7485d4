"""Where a space leads: every fault that its trials would run into, found before the first of them."""

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

DRAWS = 300
"""Random corners of the space that are looked at for settings that contradict each other."""


def validation_errors(space: Space, base: Config, data: TrainingImages) -> list[str]:
    """Every fault that a draw from the space can have with this data.

    Looked at are the ends of every range and every choice, with all else as in ``base`` where that is possible, and
    then ``DRAWS`` random combinations of ends.
    """
    faults: list[str] = []
    limits = _RangeValidator(space, base, data)
    for name, value, drawn in _ends(space, base):
        faults += [f"{name} {_text(value)}: {fault}" for fault in limits.faults(drawn, build=True)]
    if not faults:
        chance = random.Random(0)
        for _ in range(DRAWS):
            drawn = space.draw(base, lambda _, distribution: chance.choice(_extremes(distribution)))
            faults += limits.faults(drawn, build=False)
    return list(dict.fromkeys(faults))


def _ends(space: Space, base: Config) -> Iterator[tuple[str, Any, Values]]:
    """Each end of each parameter: the parameter, the end, and a draw that has it."""
    own = space.parameters_of(base)
    looked_at: set[str] = set()
    open_: list[Values] = [{}]
    while open_:
        forced = open_.pop()
        asked: dict[str, BaseDistribution] = {}
        space.draw(base, _chooser({**own, **forced}, asked))
        for name, distribution in asked.items():
            if name in looked_at:
                continue
            looked_at.add(name)
            for value in _extremes(distribution):
                with_end = {**forced, name: value}
                yield name, value, space.draw(base, _chooser({**own, **with_end}, {}))
                if isinstance(distribution, CategoricalDistribution):
                    open_.append(with_end)  # behind a case there may be parameters that were not asked for yet


def _chooser(wanted: Values, asked: dict[str, BaseDistribution]) -> Choose:
    def choose(name: str, distribution: BaseDistribution) -> Any:
        asked[name] = distribution
        return wanted[name] if name in wanted else _extremes(distribution)[0]

    return choose


def _extremes(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return [distribution.low, distribution.high]


class _RangeValidator:
    """What the configuration, the networks and the data allow; networks of one shape are built once."""

    def __init__(self, space: Space, base: Config, data: TrainingImages) -> None:
        self._space, self._base, self._data = space, base, data
        self._found: dict[str, list[str]] = {}

    def faults(self, drawn: Values, build: bool) -> list[str]:
        """All that is wrong with a draw; the networks take their time to build."""
        try:
            config = Config.model_validate({**self._space.values_of(drawn), "images": self._base.images})
        except ValidationError as error:
            return error_messages(error)
        except TrainingError as error:
            return [str(error)]
        if not build:
            return []
        key = f"{config.network.model_dump_json()} {config.batch_size} {config.conditional}"
        if key not in self._found:
            self._found[key] = self._misfits(config)
        return self._found[key]

    def _misfits(self, config: Config) -> list[str]:
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
