"""What a study searches: a preset, and the range of each setting that varies.

A draw from the space maps dotted keys to values, which override the preset like ``--set``. Parameters are drawn one
after the other, so that later parameters may depend on earlier values.
"""

import copy
import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Annotated, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BaseModel, Discriminator, Field, JsonValue, Tag, model_validator

from models.strict import StrictModel
from training.config.files import read_values, set_key, value_at
from training.config.schema import Config

Values = dict[str, Any]
Choose = Callable[[str, BaseDistribution], Any]
"""Takes a parameter's name and distribution, and returns its value."""


class Range(StrictModel):
    """Numbers from low to high: integers if both are written as integers."""

    low: int | float
    high: int | float
    log: bool = False
    step: Annotated[int, Field(ge=1)] | None = None
    times: str | None = Field(None, description="the setting that the drawn number multiplies")

    @model_validator(mode="after")
    def _sensible(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low must be below high, and {self.low} is not below {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range begins above 0, not at {self.low}")
        if self.step and (self.log or not self._is_integer):
            raise ValueError("step needs integers, and excludes log")
        return self

    @property
    def _is_integer(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int) and self.times is None

    @property
    def distribution(self) -> BaseDistribution:
        """The distribution for Optuna."""
        if self._is_integer:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=self.step or 1)
        return FloatDistribution(float(self.low), float(self.high), log=self.log)


class Choices(StrictModel):
    """One of several values."""

    choices: Annotated[tuple[JsonValue, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _distinct(self) -> "Choices":
        if len(self.labelled) != len(self.choices):
            raise ValueError("choices must differ from each other")
        return self

    @property
    def labelled(self) -> dict[Any, JsonValue]:
        """Each value by its label for Optuna and reports; lists and mappings are labelled with their JSON."""
        return {json.dumps(value) if isinstance(value, list | dict) else value: value for value in self.choices}

    @property
    def distribution(self) -> BaseDistribution:
        """The distribution for Optuna."""
        return CategoricalDistribution(tuple(self.labelled))


class SameAs(StrictModel):
    """The value of another setting."""

    same_as: str


class Cases(StrictModel):
    """One of several named groups of settings, under a key that is not a setting."""

    cases: Annotated[dict[str, dict[str, "Part"]], Field(min_length=2)]

    @property
    def distribution(self) -> BaseDistribution:
        """The distribution for Optuna."""
        return CategoricalDistribution(tuple(self.cases))


class Fixed(StrictModel):
    """One value, for use within a case."""

    value: JsonValue


KINDS = ("choices", "cases", "same_as", "value")
"""Kinds of parts, named after the field that identifies them; any other part is a range."""


def _kind(part: Any) -> str:
    if isinstance(part, BaseModel):
        return next((kind for kind in KINDS if kind in type(part).model_fields), "range")
    return next((kind for kind in KINDS if isinstance(part, dict) and kind in part), "range")


Part = Annotated[
    Annotated[Range, Tag("range")]
    | Annotated[Choices, Tag("choices")]
    | Annotated[Cases, Tag("cases")]
    | Annotated[SameAs, Tag("same_as")]
    | Annotated[Fixed, Tag("value")],
    Discriminator(_kind),
]


class Space(StrictModel):
    """The content of a SPACE.yaml."""

    preset: str
    settings: dict[str, JsonValue] = Field({}, description="override the preset in every trial")
    search: Annotated[dict[str, Part], Field(min_length=1)]

    def base_values(self) -> Values:
        """Returns the preset with the space's settings, as input for ``parse_config``. Raises ``TrainingError``."""
        return self.values_of({})

    def values_of(self, drawn: Values) -> Values:
        """Returns an unvalidated configuration: the preset with the space's settings and a draw."""
        values = copy.deepcopy(_preset(self.preset))
        for key, value in {**self.settings, **drawn}.items():
            set_key(values, key, value)
        return values

    def draw(self, base: Config, choose: Choose) -> Values:
        """Returns drawn settings by dotted key. ``choose`` draws a parameter; ``base`` has settings referred to."""
        return self._draw(self.search, base.model_dump(mode="json"), choose, "", {})

    def _draw(self, parts: dict[str, Part], base: Values, choose: Choose, case: str, drawn: Values) -> Values:
        for key, part in parts.items():
            name = _name(key, part, case)
            if isinstance(part, Range):
                value = choose(name, part.distribution)
                drawn[key] = value if part.times is None else value * _value(part.times, drawn, base)
            elif isinstance(part, Choices):
                drawn[key] = part.labelled[choose(name, part.distribution)]
            elif isinstance(part, Cases):
                chosen = choose(name, part.distribution)
                self._draw(part.cases[chosen], base, choose, chosen, drawn)
            else:
                drawn[key] = part.value if isinstance(part, Fixed) else _value(part.same_as, drawn, base)
        return drawn

    def parameters_of(self, base: Config) -> Values:
        """Returns the parameters' values that draw ``base`` itself, without those whose range excludes it."""
        found: Values = {}
        _locate(self.search, base.model_dump(mode="json"), "", found)
        return found


@cache
def _preset(preset_or_file: str) -> Values:
    return read_values(preset_or_file)[0]


def entries(parts: dict[str, Part]) -> Iterator[tuple[str, Part]]:
    """Yields every entry of a search; entries within cases follow their case."""
    for key, part in parts.items():
        yield key, part
        if isinstance(part, Cases):
            for nested in part.cases.values():
                yield from entries(nested)


def _name(key: str, part: Part, case: str) -> str:
    """Returns a parameter's name for reports and Optuna; it names the case, where a setting may have another range."""
    ratio = " ratio" if isinstance(part, Range) and part.times else ""
    return f"{key}{ratio} ({case})" if case else f"{key}{ratio}"


def _locate(parts: dict[str, Part], base: Values, case: str, found: Values) -> bool:
    """Adds the parameters' values of ``base``, and returns whether it lies within all of these parts."""
    within = True
    for key, part in parts.items():
        name = _name(key, part, case)
        value = None if isinstance(part, Cases) else _value(key, {}, base)
        if isinstance(part, Fixed):
            within &= part.value == value
        elif isinstance(part, SameAs):
            within &= _value(part.same_as, {}, base) == value
        elif isinstance(part, Cases):
            # Of several matching cases, take the one with most settings: {} matches everything.
            for label, nested in sorted(part.cases.items(), key=lambda case: -len(case[1])):
                below: Values = {}
                if _locate(nested, base, label, below):
                    found.update({name: label, **below})
                    break
            else:
                within = False
        else:
            label = _label(part, value, base)
            if label is _ABSENT:
                within = False
            else:
                found[name] = label
    return within


_ABSENT = object()


def _label(part: Range | Choices, value: Any, base: Values) -> Any:
    """Returns the label of a setting's value, or ``_ABSENT`` if the parameter cannot take it."""
    if isinstance(part, Choices):
        return next((label for label, choice in part.labelled.items() if choice == value), _ABSENT)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _ABSENT
    if part.times is not None:
        value = value / _value(part.times, {}, base)
    if not part.low <= value <= part.high:
        return _ABSENT
    return int(value) if isinstance(part.distribution, IntDistribution) else float(value)


def _value(key: str, drawn: Values, base: Values) -> Any:
    """Returns a setting's value: the drawn one, else that of the base, else None."""
    return drawn[key] if key in drawn else value_at(base, key)
