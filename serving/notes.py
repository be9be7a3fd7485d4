"""Texts as they go into files: PNG and EXIF end a text at a null character, and XML allows no control characters."""

import re

# What is not in XML 1.0, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def readable(text: str) -> str:
    """The text with U+FFFD for every character that a file's notes cannot have."""
    return _NOT_XML.sub("\ufffd", text)
