"""Reads and writes configurations: presets, YAML files, ``--set``; explains what is wrong in them."""

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
    """Returns the configuration of a preset or a YAML file, with ``key=value`` settings applied.

    Keys are dotted (``data.resolution``), values are YAML. Raises ``TrainingError``.
    """
    values, source = read_values(preset_or_file)
    apply_settings(values, settings)
    return parse_config(values, source)


def read_values(preset_or_file: str) -> tuple[dict[str, Any], str]:
    """Returns the unchecked values of a preset or a YAML file, and how messages call it. Raises ``TrainingError``."""
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


def apply_settings(values: dict[str, Any], settings: Iterable[str]) -> None:
    """Sets each ``key=value`` in ``values``. Raises ``TrainingError`` for a setting of another form."""
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not (key and equals):
            raise TrainingError(f"--set takes key=value, not {setting!r}")
        # A leading # begins a colour here. In YAML it would begin a comment, which nobody writes behind --set.
        set_key(values, key, text if text.startswith("#") else parse_yaml(text, f"--set {key}"))


def set_key(values: dict[str, Any], key: str, value: Any) -> None:
    """Sets a dotted key. Raises ``TrainingError`` if one of its parents is a plain value."""
    if key == "network.family" and isinstance(network := values.get("network"), dict) and network["family"] != value:
        # Another family has sizes of its own, with defaults, so only the noise's size stays.
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


def value_at(values: Any, key: str) -> Any:
    """Returns the value of a dotted key, or None where it is missing."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def parse_config(values: Any, source: str) -> Config:
    """Checks a configuration. Raises ``TrainingError`` with every error, and the nearest key to an unknown one."""
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise TrainingError(f"{source}: {'; '.join(error_messages(error))}") from error
    if errors := list(_booleans_for_numbers(values, config.model_dump())):
        raise TrainingError(f"{source}: {'; '.join(errors)}")
    return config


def dump_config(config: Config) -> str:
    """Returns the configuration as YAML that ``load_config`` reads back equal."""
    return dump_yaml(config.model_dump(mode="json"))


def error_messages(error: ValidationError) -> list[str]:
    """Returns one message per error of a configuration, with the nearest key to an unknown one."""
    return [_error_message(details) for details in error.errors()]


def unknown_key(key: str) -> str:
    """Returns the message for a key that no configuration has, with the nearest known key."""
    nearest = difflib.get_close_matches(key, known_keys(), n=1)
    return f"there is no setting {key}" + (f"; did you mean {nearest[0]}?" if nearest else "")


def known_keys() -> list[str]:
    """Returns every dotted key that a configuration of any family may have, sorted."""
    return sorted(set(_keys(Config)))


def _error_message(details: Any) -> str:
    # For a union of families, pydantic's location holds the family's name, which is no part of the user's key.
    where = ".".join(str(part) for part in details["loc"] if part not in FAMILIES)
    if details["type"] == "extra_forbidden":
        return unknown_key(where)
    message = details["msg"].removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]}" if where else message


def _booleans_for_numbers(given: Any, parsed: Any, key: str = "") -> Iterator[str]:
    """Yields a message for each boolean that pydantic has parsed as 0 or 1."""
    if isinstance(given, bool) and not isinstance(parsed, bool):
        yield f"{key}: input should be a number, not {str(given).lower()}"
    elif isinstance(given, dict) and isinstance(parsed, dict):
        for name, value in given.items():
            yield from _booleans_for_numbers(value, parsed.get(name), f"{key}.{name}" if key else name)
    elif isinstance(given, list) and isinstance(parsed, list | tuple):
        for value, parsed_value in zip(given, parsed, strict=False):
            yield from _booleans_for_numbers(value, parsed_value, key)


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        for choice in typing.get_args(field.annotation) or (field.annotation,):
            if isinstance(choice, type) and issubclass(choice, BaseModel):
                yield from _keys(choice, f"{prefix}{name}.")
