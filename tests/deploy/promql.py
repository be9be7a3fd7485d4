"""Reads PromQL as far as tests need it: which series an expression selects."""

import re

_KEYWORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "offset", "bool"}

# A name, perhaps with matchers. The names of functions and aggregations are followed by a bracket or a grouping.
_SELECTOR = re.compile(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(\{[^}]*\})?")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_RANGE = re.compile(r"\[[^\]]*\]")


def selectors(expression: str) -> list[tuple[str, str]]:
    """Returns (name, matchers in braces or nothing) of every series that an expression selects."""
    expression = _RANGE.sub("", _GROUPING.sub(" ", expression))
    matchers: list[str] = []

    def hide(found: re.Match[str]) -> str:  # so that no value of a label is taken for a name
        matchers.append(found[0])
        return f"{{{len(matchers) - 1}}}"

    found = []
    for match in _SELECTOR.finditer(re.sub(r"\{[^}]*\}", hide, expression)):
        rest = match.string[match.end() :].lstrip()
        if match[1] not in _KEYWORDS and not (match[2] is None and rest.startswith("(")) and not _is_aggregation(match):
            found.append((match[1], matchers[int(match[2][1:-1])] if match[2] else ""))
    return found


def _is_aggregation(match: re.Match[str]) -> bool:
    """Returns whether a name stood before a grouping: ``sum by (model) (…)``."""
    return match[2] is None and match[1] in {"sum", "max", "min", "avg", "count"}
