"""Adds an output to an ONNX graph that says which images had NaN among their values.

A conversion to uint8 hides NaN: the image would be black, or white. The parts that are added are appended to the file:
protobuf joins two messages that follow each other, so nothing that is there is changed.
"""

from collections.abc import Iterable
from typing import Final

from models.onnx_scan import read_fields

NAN_OUTPUT: Final = "figment_nan_values"
"""The output's name: float32 [N], the number of NaN values of each image."""

# Of protobuf and ONNX: numbers of fields, wire types and types of values.
_GRAPH, _NODE, _OUTPUT = 7, 1, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP_TYPE, _NODE_ATTRIBUTE = 1, 2, 4, 5
_FLOAT, _INT_ATTRIBUTE, _STRING_ATTRIBUTE = 1, 2, 3

_HIDING = frozenset({"Cast", "Clip", "Identity", "Max", "Min", "Round", "Tile", "Transpose"})
"""Operators between a generator's last values and its pixels. Some of them turn NaN into a number."""


def with_nan_output(onnx: bytes, images: str = "images") -> bytes:
    """Returns the graph with the output ``NAN_OUTPUT``, which looks at the values before they are cut off and rounded.

    The graph must have passed ``check_stands_alone``. If no operator makes ``images``, it is returned as it is.
    """
    producers: dict[str, tuple[str, list[str]]] = {}
    for graph in _messages(memoryview(onnx), _GRAPH):
        for node in _messages(graph, _NODE):
            operator = "".join(_texts(node, _NODE_OP_TYPE))
            inputs = [*_texts(node, _NODE_INPUT)]
            producers |= dict.fromkeys(_texts(node, _NODE_OUTPUT), (operator, inputs))
    if images not in producers or NAN_OUTPUT in producers:
        return onnx
    values = images
    while values in producers and producers[values][0] in _HIDING and producers[values][1]:
        values = producers[values][1][0]
    part = "figment_nan_{}".format
    nodes = [
        _node("Cast", values, part("float"), to=_FLOAT),
        _node("IsNaN", part("float"), part("found")),
        _node("Cast", part("found"), part("ones"), to=_FLOAT),
        _node("Flatten", part("ones"), part("rows"), axis=1),
        _node("Einsum", part("rows"), NAN_OUTPUT, equation="nk->n"),
    ]
    # ValueInfoProto: its name, and its type, a tensor of floats with one axis, whose length is a name.
    shape = _bytes(1, _bytes(2, part("images").encode()))
    output = _bytes(1, NAN_OUTPUT.encode()) + _bytes(2, _bytes(1, _integer(1, _FLOAT) + _bytes(2, shape)))
    return onnx + _bytes(_GRAPH, b"".join(_bytes(_NODE, node) for node in nodes) + _bytes(_OUTPUT, output))


def _messages(content: memoryview, number: int) -> Iterable[memoryview]:
    for found, _, value in read_fields(content):
        if found == number and isinstance(value, memoryview):
            yield value


def _texts(content: memoryview, number: int) -> Iterable[str]:
    return (bytes(value).decode(errors="replace") for value in _messages(content, number))


def _node(operator: str, source: str, target: str, **attributes: int | str) -> bytes:
    parts = [
        _bytes(_NODE_INPUT, source.encode()),
        _bytes(_NODE_OUTPUT, target.encode()),
        _bytes(_NODE_OP_TYPE, operator.encode()),
    ]
    for name, value in attributes.items():
        if isinstance(value, int):
            typed = _integer(3, value) + _integer(20, _INT_ATTRIBUTE)
        else:
            typed = _bytes(4, value.encode()) + _integer(20, _STRING_ATTRIBUTE)
        parts.append(_bytes(_NODE_ATTRIBUTE, _bytes(1, name.encode()) + typed))
    return b"".join(parts)


def _bytes(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
