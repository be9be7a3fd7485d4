"""Reads and writes the messages of the Open Inference Protocol: JSON, with tensors in it or in binary behind it.

This module knows the protocol and its binary tensor extension; ``serving.oip.inputs`` knows what the tensors mean.
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
from serving.http.body import JSON_LENGTH_HEADER
from serving.http.json_body import read_json
from serving.http.validation import error_from_validation
from serving.inference.engine import Images
from serving.request_fields import ImageFields

OUTPUT = "images"

# Little-endian on every machine, as the extension demands.
_DTYPES = {"UINT32": "<u4", "INT64": "<i8", "FP32": "<f4"}

_LENGTH = re.compile(r"[0-9]{1,15}", re.ASCII)

# Triton's additions to the protocol that change the output. They are rejected: ignoring one would send a wrong answer.
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


# The shared fields that are parameters here: the path has the version, a tensor the truncation. Quality and background
# belong to files: the output has the shape of the metadata, with every channel.
_PARAMETER_FIELDS = frozenset(ImageFields.model_fields) - {"version", "truncation", "quality", "background"}

Parameters = Annotated[dict[str, Any], PlainValidator(_parameters, json_schema_input_type=dict[str, JsonValue] | None)]


def _version(value: Any) -> Any:
    # `type`, since isinstance accepts a bool as an int.
    return str(value) if type(value) is int else value


Version = Annotated[str, BeforeValidator(_version, json_schema_input_type=str | int)]


class _Message(BaseModel):
    """Ignores members and parameters that the protocol does not define; null equals absence."""

    model_config = ConfigDict(extra="ignore", strict=True, protected_namespaces=())

    parameters: Parameters = {}


class InputMessage(_Message):
    """A tensor in a request: its ``data`` in JSON, or binary_data_size bytes behind the JSON."""

    name: str
    datatype: str
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=8, fail_fast=True)]
    data: list[Any] | None = None


class OutputMessage(_Message):
    """A requested tensor: ``images``, in binary if the parameter binary_data is true."""

    name: str


class InferMessage(_Message):
    """A request for inference; the parameter binary_data_output asks for a binary response."""

    # No control characters, and no megabytes: an id goes into logs and responses.
    id: Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")] | None = None
    # KServe's client repeats the model in the body.
    model_name: str | None = Field(default=None, description="if given, must be the path's model")
    model_version: Version | None = Field(default=None, description="if given, must be the version that the path means")
    inputs: Annotated[list[InputMessage], Field(min_length=1, max_length=16)]
    outputs: list[OutputMessage] | None = None


@dataclass(frozen=True)
class InputTensor:
    """One input: ``data`` is the list from the JSON, or the bytes behind the JSON."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any] | memoryview

    def array(self) -> NDArray[Any]:
        """Returns the values in ``shape`` and ``datatype``; the caller has validated both.

        Raises ``ApiError`` if the data do not fill the shape, or have another type.
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
            # Convert through 64 bits: a number too large for 32 becomes infinite, which a later check rejects.
            with np.errstate(over="ignore"):
                array = np.array(values, np.float64 if dtype.kind == "f" else dtype).astype(dtype.newbyteorder("="))
        except OverflowError:
            raise invalid(self.name, f"data must be numbers that fit in {self.datatype}") from None
        return array.reshape(self.shape)

    def _flat(self, data: list[Any]) -> list[Any]:
        """Returns the flat values of data that are flat or nested like the shape."""
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
    """A request for inference: its inputs by name, the shared fields, and whether the output is binary.

    ``model`` and ``version`` are those of the body, ``""`` if it names none.
    """

    id: str | None
    model: str
    version: str
    inputs: dict[str, InputTensor]
    fields: ImageFields
    binary_output: bool

    def check_model(self, name: str, version: int) -> None:
        """Raises ``ApiError`` if the body names another model or version than the path."""
        if self.model not in ("", name):
            raise invalid("model_name", f"the path means {name!r}, the body {self.model[:64]!r}")
        if self.version not in ("", str(version)):
            meant = f"the path means version {version} of {name}, the body {self.version[:32]!r}"
            raise invalid("model_version", f"{meant}; name the version in the path")


def read_infer_request(body: bytes, json_length: str | None) -> InferRequest:
    """Reads a request from a body. ``json_length`` is the header with the length of its JSON; without it, all is JSON.

    Raises ``ApiError`` if the message is invalid, or asks for an unknown output.
    """
    length = _json_length(json_length, len(body))
    try:
        message = InferMessage.model_validate(read_json(body[:length]))
        parameters = {name: message.parameters[name] for name in _PARAMETER_FIELDS & message.parameters.keys()}
        fields = ImageFields.model_validate(parameters, strict=True)
    except ValidationError as error:
        raise error_from_validation(error) from None
    return InferRequest(
        message.id,
        message.model_name or "",
        message.model_version or "",
        _inputs(message.inputs, memoryview(body)[length:]),
        fields,
        _is_binary(message),
    )


def _json_length(json_length: str | None, size: int) -> int:
    if json_length is None:
        return size
    if not _LENGTH.fullmatch(json_length) or not 1 <= int(json_length) <= size:
        raise ApiError(
            ErrorCode.NOT_JSON,
            f"{JSON_LENGTH_HEADER}: the number of bytes of the body's JSON is needed, 1 … {size} for this body.",
        )
    return int(json_length)


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
    """Returns one image's pixels, uint8 [H, W, C], as the content of a JSON list, without brackets."""
    return json.dumps(image.ravel().tolist(), separators=(",", ":"))[1:-1].encode()


@dataclass(frozen=True)
class ResponseHead:
    """A response without its pixels."""

    model: str
    version: int
    id: str | None
    shape: tuple[int, ...]

    def with_numbers(self, images: list[bytes]) -> bytes:
        """Returns the response in JSON, from every image's ``image_numbers``."""
        # Write an empty list and fill it by hand: the JSON encoder would walk through megabytes of text.
        start, end = self._json({"data": []}).rsplit(b"[]", 1)
        return b"".join((start, b"[", b",".join(images), b"]", end))

    def with_bytes(self, images: Images) -> tuple[bytes, int]:
        """Returns the response with binary pixels, and the length of its JSON."""
        head = self._json({"parameters": {"binary_data_size": images.nbytes}})
        return head + images.tobytes(), len(head)

    def _json(self, content: dict[str, Any]) -> bytes:
        message: dict[str, Any] = {"model_name": self.model, "model_version": str(self.version)}
        if self.id is not None:
            message["id"] = self.id
        message["outputs"] = [{"name": OUTPUT, "datatype": "UINT8", "shape": list(self.shape)} | content]
        return json.dumps(message, separators=(",", ":")).encode()
