"""JSON as RFC 8259 has it, from bytes: what Python's reader takes beyond that is refused."""

import json
from typing import Any

from serving.errors import Refusal, RequestError


def read_json(body: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises ``RequestError`` for anything else: ``NaN`` and its like, names that appear twice, bytes that are not
    UTF-8, nesting too deep to follow.
    """
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise _not_json("it is not UTF-8") from None
    except RecursionError:
        raise _not_json("it is nested too deeply") from None
    except ValueError as error:
        raise _not_json(str(error)[:200]) from None


def _not_json(problem: str) -> RequestError:
    return RequestError(
        Refusal.NOT_JSON, f"The body is not valid JSON: {problem}.", detail=[{"loc": ["body"], "msg": problem}]
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a name appears twice in an object")
    return names


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
