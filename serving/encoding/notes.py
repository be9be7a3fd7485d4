"""Cleans texts for files: PNG and EXIF end a text at a null character, and XML forbids control characters."""

import re

# XML 1.0 forbids these even when escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def readable(text: str) -> str:
    """Returns the text with U+FFFD in place of every character that XML 1.0 forbids."""
    return _NOT_XML.sub("\ufffd", text)
