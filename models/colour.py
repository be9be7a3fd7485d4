"""The notation of a colour in settings and requests."""

import re

Colour = tuple[int, int, int]
"""Red, green and blue, each 0 … 255."""

COLOUR_PATTERN = r"^(white|black|#[0-9a-fA-F]{6})$"
COLOUR_SYNTAX = "white, black or #rrggbb"

_NAMED: dict[str, Colour] = {"white": (255, 255, 255), "black": (0, 0, 0)}


def parse_colour(text: str) -> Colour:
    """Returns the levels of ``white``, ``black`` or ``#rrggbb``. Raises ``ValueError`` for any other text."""
    if not re.fullmatch(COLOUR_PATTERN, text):
        raise ValueError(f"must be {COLOUR_SYNTAX}, such as #ff8800")
    if text in _NAMED:
        return _NAMED[text]
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
