"""Reads YAML in any Unicode encoding, and rejects values that silently mean something else.

PyYAML reads YAML 1.1. There 064 is 52, 1:30 is 90, 1e-4 is text, no is false, and the last of two equal keys wins.
"""

import codecs
import re
from pathlib import Path
from typing import Any

import yaml

from training.errors import TrainingError

_BOMS = (
    # UTF-32 comes first, since its mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)

_LEADING_ZERO, _SEXAGESIMAL, _DATE = "!leading-zero", "!sexagesimal", "!date"
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?\Z"
    r"|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+\Z|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z"
)
_RESOLVERS = (
    ("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:merge", re.compile(r"<<\Z"), ["<"]),
    ("tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    (_LEADING_ZERO, re.compile(r"[-+]?0[0-9_]+\Z"), list("-+0")),
    (_SEXAGESIMAL, re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?\Z"), list("-+0123456789")),
    (_DATE, re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?\Z"), list("0123456789")),
    (
        "tag:yaml.org,2002:int",
        re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0b[01_]+|0o[0-7]+|0x[0-9a-fA-F_]+)\Z"),
        list("-+0123456789"),
    ),
    ("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789")),
)


_MAX_BYTES = 2**20
_MAX_VALUES = 100_000
"""Values of a file, with each alias counted as often as it stands: ten lines of aliases can mean a billion values."""


class _RejectedError(yaml.constructor.ConstructorError):
    """A value that YAML allows and that its author did not mean."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML's own name and type

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None:
            _check_size(node)
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        first_lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                line, first = key.start_mark.line + 1, first_lines.get((key.tag, key.value))
                if first is not None:
                    other = f", before in line {first}" if first != line else ""
                    raise _RejectedError(None, None, f"{key.value} is set twice{other}; remove one", key.start_mark)
                first_lines[key.tag, key.value] = line
        return node


def _check_size(root: yaml.Node) -> None:
    """Raises ``_RejectedError`` if the file means too many values, or if a value contains itself.

    Anchors and aliases share one node, so the sizes are summed over the few nodes that stand in the file.
    """
    sizes: dict[yaml.Node, int] = {}
    unfinished: set[yaml.Node] = set()
    pending = [root]
    while pending:
        node = pending[-1]
        if node in sizes:
            pending.pop()
            continue
        inner = [] if isinstance(node, yaml.ScalarNode) else node.value
        parts = [part for pair in inner for part in pair] if isinstance(node, yaml.MappingNode) else inner
        missing = [part for part in parts if part not in sizes]
        if missing:
            if node in unfinished and not unfinished.isdisjoint(missing):
                raise _RejectedError(None, None, "a value contains itself; write it without an alias", node.start_mark)
            unfinished.add(node)
            pending += missing
            continue
        sizes[node] = 1 + sum(sizes[part] for part in parts)
        if sizes[node] > _MAX_VALUES:
            raise _RejectedError(
                None, None, f"it holds more than {_MAX_VALUES} values, each alias counted; write less", node.start_mark
            )
        unfinished.discard(node)
        pending.pop()


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or ``_Loader`` would read as another type."""


def _reject_leading_zero(loader: _Loader, node: yaml.ScalarNode) -> None:
    plain = node.value.replace("_", "")
    octal = f", and YAML reads {node.value} as {int(plain, 8)}" if not re.search("[89]", plain) else ""
    raise _RejectedError(
        None,
        None,
        f"a number does not begin with 0{octal}; write {int(plain)}, or '{node.value}' in quotes for text",
        node.start_mark,
    )


def _reject_sexagesimal(loader: _Loader, node: yaml.ScalarNode) -> None:
    raise _RejectedError(
        None,
        None,
        f"YAML reads {node.value} as a number to the base 60; write the number itself, or '{node.value}' in quotes "
        "for text",
        node.start_mark,
    )


def _reject_date(loader: _Loader, node: yaml.ScalarNode) -> None:
    raise _RejectedError(
        None, None, f"YAML reads {node.value} as a date; write '{node.value}' in quotes for text", node.start_mark
    )


for _tag, _pattern, _first in _RESOLVERS:
    for _yaml_class in (_Loader, _Dumper):
        _yaml_class.add_implicit_resolver(_tag, _pattern, _first)
_Loader.add_constructor(_LEADING_ZERO, _reject_leading_zero)
_Loader.add_constructor(_SEXAGESIMAL, _reject_sexagesimal)
_Loader.add_constructor(_DATE, _reject_date)


def read_yaml(path: Path, source: str | None = None) -> Any:
    """Reads a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Messages call the file ``source``. Raises ``TrainingError``.
    """
    source = source or str(path)
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise TrainingError(f"{source} has more than {_MAX_BYTES} bytes, and is no file of settings")
    return parse_yaml(_decode(content, source), source)


def parse_yaml(text: str, source: str) -> Any:
    """Parses YAML. Raises ``TrainingError`` with the line."""
    try:
        return yaml.load(text, _Loader)
    except _RejectedError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark and "\n" in text.strip() else ""
        raise TrainingError(f"{source}{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise TrainingError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise TrainingError(f"{source} is not valid YAML: it is nested too deeply") from error
    except (
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
    ) as error:  # from a value that does not fit its explicit tag
        raise TrainingError(f"{source} is not valid YAML: {type(error).__name__}: {error}") from error


def dump_yaml(values: Any, **options: Any) -> str:
    """Writes values as YAML that ``parse_yaml`` reads back equal."""
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **options))


def _decode(content: bytes, source: str) -> str:
    encoding = next((name for mark, name in _BOMS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise TrainingError(f"{source} begins as {encoding.upper()} and is not; save it as UTF-8") from error
        line = content.count(b"\n", 0, error.start) + 1
        raise TrainingError(
            f"{source}, line {line}: the byte 0x{content[error.start]:02x} is not UTF-8; the file seems to be in "
            "Latin-1 or Windows-1252: save it as UTF-8"
        ) from error
    if "\0" in text:
        raise TrainingError(f"{source} holds zero bytes: it seems to be UTF-16 without its mark; save it as UTF-8")
    return text
