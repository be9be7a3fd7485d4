"""Colours have one notation in settings and requests."""

import pytest

from models.colour import parse_colour


def test_colours_have_names_or_levels() -> None:
    assert parse_colour("white") == (255, 255, 255)
    assert parse_colour("black") == (0, 0, 0)
    assert parse_colour("#0aFf10") == (10, 255, 16)


@pytest.mark.parametrize("text", ["", "red", "White", "#fff", "ff8800", "#ff880", "#ff88000", "#gg8800", "#ff8800\n"])
def test_other_texts_are_no_colour(text: str) -> None:
    with pytest.raises(ValueError, match="must be white, black or #rrggbb, such as #ff8800"):
        parse_colour(text)
