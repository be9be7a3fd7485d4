"""Reads JSON strictly by RFC 8259; Python's own reader accepts more."""

import json
import re
from typing import Any

import numpy as np

from serving.errors import ApiError, ErrorCode

# The deepest valid request, nested noise of the inference protocol, has five levels.
MAX_DEPTH = 32

# All bytes but brackets, which decide the depth, and quotes and backslashes, which end strings.
_OTHER_BYTES = bytes(set(range(256)) - set(b'[]{}"\\'))
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1


def read_json(body: bytes) -> Any:
    """Returns the value of a JSON text in UTF-8.

    Raises ``ApiError`` for invalid JSON, NaN and infinities, repeated names in an object, bytes that are not UTF-8,
    and more than ``MAX_DEPTH`` nested levels.
    """
    # Count brackets first, which is fast: a text with fewer brackets cannot be deeper.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise _not_json(f"it is nested more than {MAX_DEPTH} levels deep")
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise _not_json("it is not UTF-8") from None
    except ValueError as error:
        raise _not_json(str(error)[:200]) from None


def _depth(body: bytes) -> int:
    """Returns the largest number of open brackets outside of strings."""
    if b"\\" in body:
        body = re.sub(rb"\\.", b"", body, flags=re.DOTALL)
    brackets = re.sub(rb'"[^"]*"', b"", body.translate(None, _OTHER_BYTES))
    return int(np.cumsum(_STEPS[np.frombuffer(brackets, np.uint8)], dtype=np.int64).max(initial=0))


def _not_json(problem: str) -> ApiError:
    return ApiError(
        ErrorCode.NOT_JSON, f"The body is not valid JSON: {problem}.", detail=[{"loc": ["body"], "msg": problem}]
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a name appears twice in an object")
    return names


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
