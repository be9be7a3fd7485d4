"""The messages of the Open Inference Protocol as bytes: JSON, and tensors in JSON or in binary after it.

Knows the protocol and its binary tensor extension, but no model: what the tensors mean is ``serving.oip.inputs``'s.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, PlainValidator, ValidationError
from pydantic_core import PydanticCustomError

from serving.errors import ApiError, ErrorCode, invalid
from serving.http.headers import HEADER_LENGTH
from serving.http.json_body import read_json
from serving.http.validation import error_from_validation
from serving.inference.engine import Images

OUTPUT = "images"

# Little-endian, whatever the machine, as the extension has it.
_DTYPES = {"UINT32": "<u4", "INT64": "<i8", "FP32": "<f4"}

_LENGTH = re.compile(r"[0-9]{1,15}", re.ASCII)

# What Triton's clients may ask of an output beyond the protocol; to ignore these would be to answer something else.
_UNSUPPORTED_OUTPUT_PARAMETERS = ("classification", "shared_memory_region")


def _parameters(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PydanticCustomError("parameters", "an object is needed")
    return value


def _flag(parameters: dict[str, Any], name: str) -> bool | None:
    value = parameters.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise invalid(name, "true or false")


Parameters = Annotated[dict[str, Any], PlainValidator(_parameters, json_schema_input_type=dict[str, JsonValue] | None)]


def _version(value: Any) -> Any:
    # `type`, since a bool is an int to isinstance.
    return str(value) if type(value) is int else value


Version = Annotated[str, BeforeValidator(_version, json_schema_input_type=str | int)]


class _Message(BaseModel):
    """Ignores members and parameters that the protocol does not define; takes null for absent."""

    model_config = ConfigDict(extra="ignore", strict=True, protected_namespaces=())

    parameters: Parameters = {}


class InputMessage(_Message):
    """A tensor that is sent: its ``data`` in JSON, or as many bytes behind it as binary_data_size says."""

    name: str
    datatype: str
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=8, fail_fast=True)]
    data: list[Any] | None = None


class OutputMessage(_Message):
    """A tensor that is asked for: ``images``, in binary if the parameter binary_data says so."""

    name: str


class InferMessage(_Message):
    """A request for inference; the parameter binary_data_output asks for a binary answer."""

    # An id goes into logs and answers: no control characters, and no megabytes.
    id: Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")] | None = None
    # KServe's client writes the model into the body, too.
    model_name: str | None = Field(default=None, description="if given, the path's model")
    model_version: Version | None = Field(default=None, description="if given, the version that the path means")
    inputs: Annotated[list[InputMessage], Field(min_length=1, max_length=16)]
    outputs: list[OutputMessage] | None = None


@dataclass(frozen=True)
class InputTensor:
    """One input as it was sent: ``data`` is the list from the JSON, or the bytes from behind it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any] | memoryview

    def array(self) -> NDArray[Any]:
        """The values, in ``shape`` and of ``datatype``; to be called once both are known to be sensible.

        Raises ``ApiError`` if the data do not fill the shape, or are of another type.
        """
        dtype = np.dtype(_DTYPES[self.datatype])
        if isinstance(self.data, memoryview):
            count = math.prod(self.shape)
            if self.data.nbytes != count * dtype.itemsize:
                raise invalid(
                    self.name,
                    f"shape and datatype make {count * dtype.itemsize} bytes, binary_data_size is {self.data.nbytes}",
                )
            return np.frombuffer(self.data, dtype).reshape(self.shape).astype(dtype.newbyteorder("="))
        values = self._flat(self.data)
        allowed = (int, float) if dtype.kind == "f" else (int,)
        if not all(type(value) in allowed for value in values):
            raise invalid(self.name, f"data must be numbers of type {self.datatype}, flat or nested as the shape")
        try:
            # By way of 64 bits: a number too large for 32 becomes infinite, and is refused as such.
            with np.errstate(over="ignore"):
                array = np.array(values, np.float64 if dtype.kind == "f" else dtype).astype(dtype.newbyteorder("="))
        except OverflowError:
            raise invalid(self.name, f"data must be numbers that fit in {self.datatype}") from None
        return array.reshape(self.shape)

    def _flat(self, data: list[Any]) -> list[Any]:
        """The values of data that are flat, or nested just as the shape is."""
        values, fits = data, True
        if data and isinstance(data[0], list):
            fits = len(data) == self.shape[0]
            for size in self.shape[1:]:
                fits = fits and all(isinstance(row, list) and len(row) == size for row in values)
                values = [value for row in values for value in row] if fits else values
        count = math.prod(self.shape)
        if not fits or len(values) != count:
            raise invalid(self.name, f"data must be the {count} numbers of the shape, flat or nested as it is")
        return values


@dataclass(frozen=True)
class InferRequest:
    """A request for inference: its inputs by name, and whether the output goes back in binary.

    ``model`` and ``version`` are the body's, ``""`` where it names none.
    """

    id: str | None
    model: str
    version: str
    inputs: dict[str, InputTensor]
    binary_output: bool

    def check_model(self, name: str, version: int) -> None:
        """Raises ``ApiError`` if the body means another model or version than the path does."""
        if self.model not in ("", name):
            raise invalid("model_name", f"the path means {name!r}, the body {self.model[:64]!r}")
        if self.version not in ("", str(version)):
            meant = f"the path means version {version} of {name}, the body {self.version[:32]!r}"
            raise invalid("model_version", f"{meant}; name the version in the path")


def read_infer_request(body: bytes, header_length: str | None) -> InferRequest:
    """The request in a body, of which the JSON takes as many bytes as the header says, or all.

    Raises ``ApiError`` if it is not of the protocol, or asks for an output that there is not.
    """
    length = _json_length(header_length, len(body))
    try:
        request = InferMessage.model_validate(read_json(body[:length]))
    except ValidationError as error:
        raise error_from_validation(error) from None
    inputs = _inputs(request.inputs, memoryview(body)[length:])
    return InferRequest(request.id, request.model_name or "", request.model_version or "", inputs, _is_binary(request))


def _json_length(header_length: str | None, size: int) -> int:
    if header_length is None:
        return size
    if not _LENGTH.fullmatch(header_length) or not 1 <= int(header_length) <= size:
        raise ApiError(
            ErrorCode.NOT_JSON,
            f"{HEADER_LENGTH}: the number of bytes of the body's JSON is needed, 1 … {size} for this body.",
        )
    return int(header_length)


def _inputs(messages: list[InputMessage], binary: memoryview) -> dict[str, InputTensor]:
    tensors: dict[str, InputTensor] = {}
    offset = 0
    for message in messages:
        shown = repr(message.name[:64])
        if message.name in tensors:
            raise invalid("inputs", f"{shown} is given twice")
        size = message.parameters.get("binary_data_size")
        if (message.data is None) == (size is None):
            raise invalid("inputs", f"{shown} needs either data or the parameter binary_data_size")
        data: list[Any] | memoryview
        if message.data is not None:
            data = message.data
        else:
            if type(size) is not int or not 0 <= size <= len(binary) - offset:
                problem = f"binary_data_size must be a number of bytes, and {len(binary) - offset} are left for it"
                raise invalid("inputs", f"{shown}: {problem}")
            data = binary[offset : offset + size]
            offset += size
        tensors[message.name] = InputTensor(message.name, message.datatype, tuple(message.shape), data)
    if offset != len(binary):
        raise invalid("inputs", f"{len(binary) - offset} bytes after the JSON belong to no input")
    return tensors


def _is_binary(request: InferMessage) -> bool:
    outputs = request.outputs or []
    if len(outputs) > 1 or any(output.name != OUTPUT for output in outputs):
        raise invalid("outputs", f"the one output is {OUTPUT}, and may be asked for once")
    binary = _flag(request.parameters, "binary_data_output")
    for output in outputs:
        for name in _UNSUPPORTED_OUTPUT_PARAMETERS:
            if output.parameters.get(name) is not None:
                raise invalid("outputs", f"the parameter {name} is not supported")
        asked = _flag(output.parameters, "binary_data")
        binary = binary if asked is None else asked
    return bool(binary)


def image_numbers(image: Images) -> bytes:
    """One image's pixels, uint8 [H, W, C], as they stand in a JSON list, without its brackets."""
    return json.dumps(image.ravel().tolist(), separators=(",", ":"))[1:-1].encode()


@dataclass(frozen=True)
class ResponseHead:
    """All of an answer but its pixels."""

    model: str
    version: int
    id: str | None
    shape: tuple[int, ...]

    def with_numbers(self, images: list[bytes]) -> bytes:
        """The answer in JSON alone, of every image's ``image_numbers``."""
        # An empty list is written, and filled by hand: it spares a walk through megabytes of text.
        start, end = self._json({"data": []}).rsplit(b"[]", 1)
        return b"".join((start, b"[", b",".join(images), b"]", end))

    def with_bytes(self, images: Images) -> tuple[bytes, int]:
        """The answer with binary pixels, and the length of its JSON."""
        head = self._json({"parameters": {"binary_data_size": images.nbytes}})
        return head + images.tobytes(), len(head)

    def _json(self, content: dict[str, Any]) -> bytes:
        message: dict[str, Any] = {"model_name": self.model, "model_version": str(self.version)}
        if self.id is not None:
            message["id"] = self.id
        message["outputs"] = [{"name": OUTPUT, "datatype": "UINT8", "shape": list(self.shape)} | content]
        return json.dumps(message, separators=(",", ":")).encode()
