"""PNG files (ISO/IEC 15948) written by hand, since speed is what a server wants of them.

Each row is kept as its difference from the row above, and compressed in runs alone (zlib's ``Z_RLE``), which on
generated images is three to five times faster than the fastest level of a search for repetitions, at the same size
within a tenth. An image that goes into one network packet anyway is not compressed: that costs more than all the
rest of the file. ``docs/performance.md`` has the table.
"""

import functools
import struct
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from serving.encoding.notes import readable

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE = {1: 0, 3: 2}
# Filters, of which each row names its own.
_NO_FILTER = b"\0"
_UP = 2  # a row minus the row above
_LEVEL, _WINDOW_BITS, _MEMORY_LEVEL = 1, 15, 8
_STORED_BYTES = 1200  # with the notes and the answer's head, an Ethernet packet's 1460


def encode_png(pixels: NDArray[np.uint8], texts: Mapping[str, str]) -> bytes:
    """An image, uint8 [H, W, C] with C = 1 or 3, as a PNG with text chunks."""
    height, width, channels = pixels.shape
    row_bytes = width * channels
    if height * (1 + row_bytes) <= _STORED_BYTES:
        data = _stored(pixels.tobytes(), _rows(height, row_bytes))
    else:
        data = _compressed(pixels.reshape(height, row_bytes))
    notes = b"".join([_text(name, text) for name, text in texts.items()])
    return b"".join((_head(height, width, channels), notes, _chunk(b"IDAT", data), _END))


def _compressed(flat: NDArray[np.uint8]) -> bytes:
    """Rows of bytes, each as its difference from the one above, as a zlib stream of runs."""
    height, row_bytes = flat.shape
    rows = np.empty((height, 1 + row_bytes), np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zlib.Z_RLE)
    return stream.compress(rows.data) + stream.flush()


@functools.lru_cache(maxsize=64)
def _rows(height: int, row_bytes: int) -> struct.Struct:
    """What takes an image apart in one call: a loop over its rows would cost half of the file."""
    return struct.Struct(f"{row_bytes}s" * height)


def _stored(pixels: bytes, rows: struct.Struct) -> bytes:
    """Rows as they are, as a zlib stream of one block of at most 65 535 bytes (RFC 1950, RFC 1951 section 3.2.4).

    NumPy's arithmetic and zlib's own level 0 give up the interpreter's lock, and in a busy service to get it back takes
    longer than to copy so few bytes.
    """
    data = _NO_FILTER + _NO_FILTER.join(rows.unpack(pixels))
    return b"".join(
        (
            b"\x78\x01\x01",
            struct.pack("<HH", len(data), 0xFFFF - len(data)),
            data,
            struct.pack(">I", zlib.adler32(data)),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))))


@functools.lru_cache(maxsize=64)
def _head(height: int, width: int, channels: int) -> bytes:
    depth, deflate, adaptive, not_interlaced = 8, 0, 0, 0
    header = struct.pack(">IIBBBBB", width, height, depth, _COLOUR_TYPE[channels], deflate, adaptive, not_interlaced)
    return _SIGNATURE + _chunk(b"IHDR", header)


@functools.lru_cache(maxsize=256)
def _text(name: str, text: str) -> bytes:
    keyword, text = name.encode("latin-1") + b"\0", readable(text)
    try:
        return _chunk(b"tEXt", keyword + text.encode("latin-1"))
    except UnicodeEncodeError:
        not_compressed, no_language, not_translated = b"\0\0", b"\0", b"\0"
        return _chunk(b"iTXt", keyword + not_compressed + no_language + not_translated + text.encode())


_END = _chunk(b"IEND", b"")
