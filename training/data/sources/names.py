"""Sorts and prints the names of files and labels."""

import os
import re
from collections.abc import Iterable
from decimal import Decimal

SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}
"""Common names of the parts of a data set."""

_NUMERAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")


def sorted_names(names: Iterable[str]) -> list[str]:
    """Sorts names: by value if all are numerals, else as text."""
    ordered = sorted(names)
    return sorted(ordered, key=Decimal) if are_numerals(ordered) else ordered


def are_numerals(names: Iterable[str]) -> bool:
    """Returns whether every name is a decimal number."""
    return all(_NUMERAL.fullmatch(name) for name in names)


def printable(name: str) -> str:
    r"""Escapes control characters, and bytes that are not UTF-8, as in ``\x0a``."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return _UNPRINTABLE.sub(
        lambda match: ascii(match[0])[1:-1] if match[0] > "\x7f" else f"\\x{ord(match[0]):02x}", text
    )
