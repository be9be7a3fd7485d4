"""Reads a space from YAML, reporting every error at once, and writes it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training.config.files import known_keys, parse_config, unknown_key
from training.config.strict_yaml import dump_yaml, read_yaml
from training.errors import TrainingError
from training.tuning.space.space import KINDS, Cases, Part, Range, SameAs, Space, entries
from training.tuning.spaces import SPACES, space_names

SAME_FOR_ALL = {"name", "seed", "images", "data", "precision", "judge", "pace", "about"}
"""Settings that must not vary within a study: its scores would not compare, or not depend on the generator."""


def read_space(name_or_file: str) -> tuple[Space, list[str]]:
    """Reads a space that ships, or a YAML file. Returns its valid parts, and the errors of the others.

    Raises ``TrainingError`` if no part is usable. ``validation.validation_errors`` checks the values.
    """
    is_file = name_or_file.endswith((".yaml", ".yml"))
    path = Path(name_or_file) if is_file else SPACES / f"{name_or_file}.yaml"
    if not path.is_file():
        raise TrainingError(
            f"there is no space {name_or_file!r}; choose from "
            f"{', '.join(space_names())}, or a file whose name ends in .yaml"
        )
    values = read_yaml(path)
    errors: list[str] = []
    while True:
        try:
            space = Space.model_validate(values)
            break
        except ValidationError as error:
            errors += map(_describe, error.errors())
            broken = {entry["loc"][1] for entry in error.errors() if entry["loc"][0] == "search" and entry["loc"][1:]}
            if not broken:
                raise TrainingError(f"{path}: {'; '.join(errors)}") from error
            values = {**values, "search": {key: part for key, part in values["search"].items() if key not in broken}}
    for keys, message in [*_unknown_keys(space), *_dangling_references(space.search, {})]:
        errors.append(message)
        space = space.model_copy(
            update={
                "settings": {key: value for key, value in space.settings.items() if key not in keys},
                "search": {key: part for key, part in space.search.items() if key not in keys},
            }
        )
    try:
        parse_config(space.base_values(), str(path))
    except TrainingError as error:
        raise TrainingError("; ".join([str(error), *dict.fromkeys(errors)])) from error
    return space, list(dict.fromkeys(errors))


def dump_space(space: Space) -> str:
    """Returns the space as YAML that ``read_space`` reads back equal."""
    return dump_yaml(space.model_dump(mode="json", exclude_defaults=True))


def _unknown_keys(space: Space) -> Iterator[tuple[set[str], str]]:
    """Yields the entries with keys that cannot be searched or set, and the error."""
    known = set(known_keys())
    for key in space.settings:
        if key not in known:
            yield {key}, unknown_key(key)
    for top, whole in space.search.items():
        for key, part in entries({top: whole}):
            if isinstance(part, Cases):
                if key in known:
                    yield {top}, f"{key} is a setting, but the key of cases must not be one"
            elif key not in known:
                yield {top}, unknown_key(key)
            elif key.partition(".")[0] in SAME_FOR_ALL:
                yield (
                    {top},
                    f"{key} cannot be searched: scores compare only if it is the same for all trials",
                )


def _dangling_references(parts: dict[str, Part], above: dict[str, Part]) -> Iterator[tuple[set[str], str]]:
    """Yields the entries that refer to settings which do not exist or are drawn later, and the error."""
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


def _describe(error: Any) -> str:
    # Pydantic puts the kind of a part behind its key; it is not in the user's file.
    path = [str(part) for part in error["loc"]]
    kinds = {"range", *KINDS}
    where = ".".join(
        part for place, part in enumerate(path) if not (part in kinds and place and _is_key(path[place - 1]))
    )
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown entry"
    return f"{where}: {message[0].lower()}{message[1:]}" if where else message


def _is_key(part: str) -> bool:
    return part not in ("search", "cases", *KINDS, "range")
