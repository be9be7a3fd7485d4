"""Where a configuration comes from and goes: presets, YAML files, ``--set``, and words for what is wrong in them."""

import difflib
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from models.networks import FAMILIES
from training.config.presets import PRESETS, preset_names
from training.config.schema import Config
from training.config.strict_yaml import dump_yaml, parse_yaml, read_yaml
from training.errors import TrainingError


def load_config(preset_or_file: str, settings: Iterable[str] = ()) -> Config:
    """The configuration of a preset's name or a YAML file, with ``key=value`` settings laid over it.

    Keys are dotted (``data.resolution``), values are YAML. Raises ``TrainingError``.
    """
    values, source = read_values(preset_or_file)
    lay_settings_over(values, settings)
    return parse_config(values, source)


def lay_settings_over(values: dict[str, Any], settings: Iterable[str]) -> None:
    """Sets each ``key=value``. Raises ``TrainingError`` if one is not of that form."""
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not (key and equals):
            raise TrainingError(f"--set takes key=value, not {setting!r}")
        # A # begins a colour here: nobody writes a comment behind --set.
        lay_over(values, key, text if text.startswith("#") else parse_yaml(text, f"--set {key}"))


def read_values(preset_or_file: str) -> tuple[dict[str, Any], str]:
    """What a preset's name or a YAML file says, unchecked, and words for where it stands. Raises ``TrainingError``."""
    is_file = preset_or_file.endswith((".yaml", ".yml"))
    path = Path(preset_or_file) if is_file else PRESETS / f"{preset_or_file}.yaml"
    if not path.is_file():
        raise TrainingError(
            f"there is no preset or file {preset_or_file!r}; the presets are {', '.join(preset_names())}, "
            "and a file's name ends in .yaml"
        )
    source = str(path) if is_file else f"preset {preset_or_file}"
    values = read_yaml(path, source)
    if not isinstance(values, dict):
        raise TrainingError(f"{source} holds no settings: it must be a YAML mapping")
    return values, source


def parse_config(values: Any, source: str) -> Config:
    """Checks a configuration. Raises ``TrainingError`` naming every fault, with the nearest key to an unknown one."""
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise TrainingError(f"{source}: {'; '.join(described(error))}") from error
    if faults := list(_booleans_for_numbers(values, config.model_dump())):
        raise TrainingError(f"{source}: {'; '.join(faults)}")
    return config


def _booleans_for_numbers(given: Any, taken: Any, key: str = "") -> Iterator[str]:
    """Where a boolean was given and pydantic took it for 0 or 1."""
    if isinstance(given, bool) and not isinstance(taken, bool):
        yield f"{key}: input should be a number, not {str(given).lower()}"
    elif isinstance(given, dict) and isinstance(taken, dict):
        for name, value in given.items():
            yield from _booleans_for_numbers(value, taken.get(name), f"{key}.{name}" if key else name)
    elif isinstance(given, list) and isinstance(taken, list | tuple):
        for value, each in zip(given, taken, strict=False):
            yield from _booleans_for_numbers(value, each, key)


def dump_config(config: Config) -> str:
    """The configuration as YAML that ``load_config`` reads back equal."""
    return dump_yaml(config.model_dump(mode="json"))


def lay_over(values: dict[str, Any], key: str, value: Any) -> None:
    """Sets a dotted key. Raises ``TrainingError`` if what it is below of holds no settings."""
    if key == "network.family" and isinstance(network := values.get("network"), dict) and network["family"] != value:
        # The sizes of another family mean nothing to this one, which has defaults of its own.
        values["network"] = {"noise_dim": network["noise_dim"]}
    *parents, last = key.split(".")
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        nested = values[parent]
        if not isinstance(nested, dict):
            raise TrainingError(f"--set {key}: {parent} holds no settings of its own")
        values = nested
    values[last] = value


def described(error: ValidationError) -> list[str]:
    """Every fault of a configuration in words, with the nearest key to an unknown one."""
    return [_describe(fault) for fault in error.errors()]


def _describe(fault: Any) -> str:
    # In a choice of families pydantic puts the family's name into the path; to the user it is no part of the key.
    where = ".".join(str(part) for part in fault["loc"] if part not in FAMILIES)
    if fault["type"] != "extra_forbidden":
        message = fault["msg"].removeprefix("Value error, ")
        return f"{where}: {message[0].lower()}{message[1:]}" if where else message
    return unknown_setting(where)


def unknown_setting(key: str) -> str:
    """Words for a key that no configuration has, with the nearest one that is known."""
    nearest = difflib.get_close_matches(key, known_keys(), n=1)
    return f"there is no setting {key}" + (f"; did you mean {nearest[0]}?" if nearest else "")


def known_keys() -> list[str]:
    """Every dotted key that a configuration may have, of every family."""
    return sorted(set(_keys(Config)))


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        for choice in typing.get_args(field.annotation) or (field.annotation,):
            if isinstance(choice, type) and issubclass(choice, BaseModel):
                yield from _keys(choice, f"{prefix}{name}.")
