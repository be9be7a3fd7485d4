"""Adds an output to an ONNX graph that says which images had NaN among their values.

A conversion to uint8 hides NaN: the image would be black, or white. The parts that are added are appended to the file:
protobuf joins two messages that follow each other, so nothing that is there is changed.
"""

from collections.abc import Iterable
from typing import Final

from models.onnx_scan import read_fields

NAN_OUTPUT: Final = "figment_nan_values"
"""The output's name: float32 [N], 1 for each image with NaN among its values, else 0."""

# Of protobuf and ONNX: numbers of fields, wire types and types of values.
_OPSET, _GRAPH, _NODE, _OUTPUT = 8, 7, 1, 12
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP_TYPE, _NODE_ATTRIBUTE = 1, 2, 4, 5
_FLOAT, _INT_ATTRIBUTE, _INTS_ATTRIBUTE = 1, 2, 7

_AXES_ARE_AN_INPUT = 18
"""The version of ONNX's operators from which ReduceMax has its axes as an input, and no longer as an attribute."""

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
        values = producers.pop(values)[1][0]  # each once: a damaged graph may have circles
    part = "figment_nan_{}".format
    nodes = [
        _node("Cast", [values], part("float"), to=_FLOAT),
        _node("IsNaN", [part("float")], part("found")),
        _node("Cast", [part("found")], part("ones"), to=_FLOAT),
        _node("Flatten", [part("ones")], part("rows"), axis=1),
    ]
    if _opset(onnx) < _AXES_ARE_AN_INPUT:
        nodes.append(_node("ReduceMax", [part("rows")], NAN_OUTPUT, axes=[1], keepdims=0))
    else:
        nodes.append(_node("Constant", [], part("axes"), value_ints=[1]))
        nodes.append(_node("ReduceMax", [part("rows"), part("axes")], NAN_OUTPUT, keepdims=0))
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


def _opset(onnx: bytes) -> int:
    """Returns the version of ONNX's own operators; 1, ONNX's default, if the graph names none."""
    version = 1
    for imported in _messages(memoryview(onnx), _OPSET):
        if not "".join(_texts(imported, _OPSET_DOMAIN)):
            version = max(
                [
                    version,
                    *(
                        value
                        for number, _, value in read_fields(imported)
                        if number == _OPSET_VERSION and isinstance(value, int)
                    ),
                ]
            )
    return version


def _node(operator: str, sources: list[str], target: str, **attributes: int | list[int]) -> bytes:
    parts = [
        *(_bytes(_NODE_INPUT, source.encode()) for source in sources),
        _bytes(_NODE_OUTPUT, target.encode()),
        _bytes(_NODE_OP_TYPE, operator.encode()),
    ]
    for name, value in attributes.items():
        if isinstance(value, int):
            typed = _integer(3, value) + _integer(20, _INT_ATTRIBUTE)
        else:
            typed = b"".join(_integer(8, item) for item in value) + _integer(20, _INTS_ATTRIBUTE)
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
