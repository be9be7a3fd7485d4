"""What a study searches: a YAML file that names a preset and, for each setting that varies, where it may go.

A draw from the space is a mapping of dotted keys to values, laid over the preset as ``--set`` would. It is made by
asking for one parameter after the other, so that what is asked for may depend on what was answered.
"""

import copy
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BaseModel, Discriminator, Field, JsonValue, Tag, ValidationError, model_validator

from models.strict import StrictModel
from training.config.files import known_keys, parse_config, read_values, set_key, unknown_key
from training.config.schema import Config
from training.config.strict_yaml import dump_yaml, read_yaml
from training.errors import TrainingError
from training.tuning.spaces import SPACES, space_names

SAME_FOR_ALL = {"name", "seed", "images", "data", "precision", "judge", "pace", "about"}
"""Settings that must not vary within a study: scores would no longer compare, or say nothing of the generator."""

Values = dict[str, Any]
Choose = Callable[[str, BaseDistribution], Any]
"""Parameter's name and distribution → the value it takes."""


class Range(StrictModel):
    """Numbers from low to high: integers where both are written as integers."""

    low: int | float
    high: int | float
    log: bool = False
    step: Annotated[int, Field(ge=1)] | None = None
    times: str | None = Field(None, description="the setting that this one is drawn as a multiple of")

    @model_validator(mode="after")
    def _sensible(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low must be below high, and {self.low} is not below {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range begins above 0, not at {self.low}")
        if self.step and (self.log or not self._whole):
            raise ValueError("step goes with integers, and not with log")
        return self

    @property
    def _whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int) and self.times is None

    @property
    def distribution(self) -> BaseDistribution:
        """For Optuna."""
        if self._whole:
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
        """What Optuna and people call each value → the value: lists and mappings go by their JSON."""
        return {json.dumps(value) if isinstance(value, list | dict) else value: value for value in self.choices}

    @property
    def distribution(self) -> BaseDistribution:
        """For Optuna."""
        return CategoricalDistribution(tuple(self.labelled))


class SameAs(StrictModel):
    """Always another setting's value."""

    same_as: str


class Cases(StrictModel):
    """One of several groups of settings, each with a name; its name is no setting's."""

    cases: Annotated[dict[str, dict[str, "Part"]], Field(min_length=2)]

    @property
    def distribution(self) -> BaseDistribution:
        """For Optuna."""
        return CategoricalDistribution(tuple(self.cases))


class Fixed(StrictModel):
    """One value, within a case."""

    value: JsonValue


_KINDS = {"choices": "choices", "cases": "cases", "same_as": "same_as", "value": "value"}


def _kind(part: Any) -> str:
    if isinstance(part, BaseModel):
        return next((kind for kind in _KINDS if kind in type(part).model_fields), "range")
    return next((kind for kind in _KINDS if isinstance(part, dict) and kind in part), "range")


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
    settings: dict[str, JsonValue] = Field({}, description="laid over the preset in every trial")
    search: Annotated[dict[str, Part], Field(min_length=1)]

    def base_values(self) -> Values:
        """The preset with the space's settings laid over it, as ``parse_config`` takes it. Raises ``TrainingError``."""
        return self.values_of({})

    def values_of(self, drawn: Values) -> Values:
        """A configuration, unchecked: the preset, the space's settings, and what was drawn."""
        values = copy.deepcopy(_preset(self.preset))
        for key, value in {**self.settings, **drawn}.items():
            set_key(values, key, value)
        return values

    def draw(self, base: Config, choose: Choose) -> Values:
        """Settings, dotted key → value, each parameter's value as chosen; ``base`` gives what they are multiples of."""
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
        """The parameters' values that draw ``base`` itself, as far as it lies in the space."""
        found: Values = {}
        _locate(self.search, base.model_dump(mode="json"), "", found)
        return found


@cache
def _preset(preset_or_file: str) -> Values:
    return read_values(preset_or_file)[0]


def read_space(name_or_file: str) -> tuple[Space, list[str]]:
    """The space of a name that ships or of a YAML file, as far as it is sound, and what of it is not.

    Raises ``TrainingError`` where nothing of it can be used. ``validation.validation_errors`` checks its
    settings.
    """
    is_file = name_or_file.endswith((".yaml", ".yml"))
    path = Path(name_or_file) if is_file else SPACES / f"{name_or_file}.yaml"
    if not path.is_file():
        raise TrainingError(
            f"there is no space {name_or_file!r}; those that ship are "
            f"{', '.join(space_names())}, and a file's name ends in .yaml"
        )
    values = read_yaml(path)
    faults: list[str] = []
    while True:
        try:
            space = Space.model_validate(values)
            break
        except ValidationError as error:
            faults += map(_describe, error.errors())
            broken = {fault["loc"][1] for fault in error.errors() if fault["loc"][0] == "search" and fault["loc"][1:]}
            if not broken:
                raise TrainingError(f"{path}: {'; '.join(faults)}") from error
            values = {**values, "search": {key: part for key, part in values["search"].items() if key not in broken}}
    for keys, fault in [*_unknown(space), *_loose_ends(space.search, {})]:
        faults.append(fault)
        space = space.model_copy(
            update={
                "settings": {key: value for key, value in space.settings.items() if key not in keys},
                "search": {key: part for key, part in space.search.items() if key not in keys},
            }
        )
    try:
        parse_config(space.base_values(), str(path))
    except TrainingError as error:
        raise TrainingError("; ".join([str(error), *dict.fromkeys(faults)])) from error
    return space, list(dict.fromkeys(faults))


def dump_space(space: Space) -> str:
    """The space as YAML that ``load_space`` reads back equal."""
    return dump_yaml(space.model_dump(mode="json", exclude_defaults=True))


def _unknown(space: Space) -> Iterator[tuple[set[str], str]]:
    """Keys that cannot be searched or set: which entries have to go for it, and why."""
    known = set(known_keys())
    for key in space.settings:
        if key not in known:
            yield {key}, unknown_key(key)
    for top, whole in space.search.items():
        for key, part in entries({top: whole}):
            if isinstance(part, Cases):
                if key in known:
                    yield {top}, f"{key} is a setting, and cases need a name that is none"
            elif key not in known:
                yield {top}, unknown_key(key)
            elif key.partition(".")[0] in SAME_FOR_ALL:
                yield (
                    {top},
                    f"{key} cannot be searched: it is the same for all trials, or their scores would not compare",
                )


def entries(parts: dict[str, Part]) -> Iterator[tuple[str, Part]]:
    """Every entry of a search, those of cases behind them."""
    for key, part in parts.items():
        yield key, part
        if isinstance(part, Cases):
            for nested in part.cases.values():
                yield from entries(nested)


def _loose_ends(parts: dict[str, Part], above: dict[str, Part]) -> Iterator[tuple[set[str], str]]:
    """References to settings that do not exist, or that are drawn only later, in the same way."""
    searched, known = {key for key, _ in entries(parts)}, set(known_keys())
    for top, whole in parts.items():
        drawn = {key for key, _ in entries(above)}
        for key, part in entries({top: whole}):
            other = part.times if isinstance(part, Range) else part.same_as if isinstance(part, SameAs) else None
            if other is not None and other not in known:
                yield {top}, f"{key}: {unknown_key(other)}"
            elif other in searched and other not in drawn:
                yield {top}, f"{key} refers to {other}, which must stand above it"
            drawn.add(key)
        above = {**above, top: whole}


def _name(key: str, part: Part, case: str) -> str:
    """A parameter's name, for people and Optuna: in other cases the same setting may have another range."""
    ratio = " ratio" if isinstance(part, Range) and part.times else ""
    return f"{key}{ratio} ({case})" if case else f"{key}{ratio}"


def _locate(parts: dict[str, Part], base: Values, case: str, found: Values) -> bool:
    """Adds the parameters at which ``base`` lies; says whether it lies within all of these parts."""
    within = True
    for key, part in parts.items():
        name = _name(key, part, case)
        value = None if isinstance(part, Cases) else _value(key, {}, base)
        if isinstance(part, Fixed):
            within &= part.value == value
        elif isinstance(part, SameAs):
            within &= _value(part.same_as, {}, base) == value
        elif isinstance(part, Cases):
            # Of several cases that fit, the one that says most: {} fits everything.
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
    """What a parameter is called at a setting's value, or ``_ABSENT`` where it cannot take it."""
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
    """A setting's value: drawn, or as it is in the base, or None where that has no such setting."""
    if key in drawn:
        return drawn[key]
    value: Any = base
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _describe(fault: Any) -> str:
    # The kind of a part stands in the path behind its key; to the user it is no part of it.
    path = [str(part) for part in fault["loc"]]
    kinds = {"range", *_KINDS}
    where = ".".join(
        part for place, part in enumerate(path) if not (part in kinds and place and _is_key(path[place - 1]))
    )
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return f"{where}: a space has no such entry"
    return f"{where}: {message[0].lower()}{message[1:]}" if where else message


def _is_key(part: str) -> bool:
    return part not in ("search", "cases", *_KINDS, "range")
