"""Verifies that an ONNX file stands alone, before ONNX Runtime opens it: reads its protobuf fields, and no weights.

ONNX Runtime reads the file that a tensor's external data names, anywhere below the working directory, and a generator
would show it as pixels. It copies a function into each of its calls: 15 small functions that call each other twice take
a kilobyte, and loading them does not end in a minute. Neither error can be caught once a session opens.
"""

from collections.abc import Iterator
from typing import Final

MAX_FIELDS: Final = 1_000_000
"""Fields of one file. Reading that many takes about a second."""
MAX_NODES: Final = 20_000
"""Nodes of all graphs in one file. ONNX Runtime loads a chain of 20 000 in 0.6 s, of 100 000 in 4.4 s."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10

_CHILDREN: Final[dict[str, dict[int, str]]] = {
    "ModelProto": {7: "GraphProto", 25: "FunctionProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
"""Message → number of a field → the message in it: every way to a tensor or a node that ONNX Runtime uses."""

_COMPILED: Final = memoryview(b"EPContext")
_OP_TYPE, _EXTERNAL_DATA, _DATA_LOCATION = 4, 13, 14


class OnnxFileError(ValueError):
    """An ONNX file that is damaged, does not stand alone, or is too large. The text continues "the file …"."""


def check_stands_alone(onnx: bytes) -> None:
    """Raises ``OnnxFileError`` unless the file is protobuf, whole in itself, and of a bounded number of parts.

    Nested messages wait on a list, so depth costs no stack.
    """
    pending: list[tuple[str, memoryview]] = [("ModelProto", memoryview(onnx))]
    fields = nodes = 0
    while pending:
        kind, content = pending.pop()
        nodes += kind == "NodeProto"
        children = _CHILDREN[kind]
        for number, wire_type, value in read_fields(content):
            fields += 1
            if fields > MAX_FIELDS or nodes > MAX_NODES:
                raise OnnxFileError(f"has more than {MAX_NODES} nodes or {MAX_FIELDS} fields")
            child = children.get(number) if wire_type == _BYTES else None
            if child == "FunctionProto":
                raise OnnxFileError("defines functions of its own; export it with all functions inlined")
            if child is not None:
                assert isinstance(value, memoryview)
                pending.append((child, value))
            elif kind == "TensorProto" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
                raise OnnxFileError("refers to data in another file; export it as one file, without external data")
            elif kind == "NodeProto" and number == _OP_TYPE and value == _COMPILED:
                raise OnnxFileError("holds a compiled engine (EPContext), which may run code; export the plain graph")


def read_fields(content: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yields the number, wire type and value of each field of a message: an int for a varint, else the bytes.

    Stricter than protobuf, which skips groups and cuts long tags: nothing may look different there.
    """
    position, end = 0, len(content)
    while position < end:
        tag, position = _varint(content, position)
        number, wire_type = tag >> 3, tag & 7
        if not 1 <= number < 2**29:
            raise OnnxFileError("is damaged, or no ONNX file")
        if wire_type == _VARINT:
            value, position = _varint(content, position)
            yield number, wire_type, value
            continue
        if wire_type == _BYTES:
            size, position = _varint(content, position)
        elif wire_type in (_FIXED32, _FIXED64):
            size = 4 if wire_type == _FIXED32 else 8
        else:
            raise OnnxFileError("is damaged, or no ONNX file")
        if size > end - position:
            raise OnnxFileError("is cut off, damaged, or no ONNX file")
        yield number, wire_type, content[position : position + size]
        position += size


def _varint(content: memoryview, position: int) -> tuple[int, int]:
    """Returns the number at a position, and the position behind it."""
    number = 0
    for index, byte in enumerate(content[position : position + _MAX_VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, position + index + 1
    raise OnnxFileError("is cut off, damaged, or no ONNX file")
