"""The request model of ``POST /generate``, validated without its generator."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, PlainValidator, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from models.noise import MAX_SEED
from serving.encoding.formats import DEFAULT_FORMAT, StillFormat
from serving.errors import ApiError, ErrorCode
from serving.http.validation import error_from_validation
from serving.request_fields import ImageFields

Layout = Literal["list", "grid"]

_RANGE = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10}))?", re.ASCII)
# The notation for the JSON schema. A pattern cannot express the limits of seeds, nor that ranges ascend.
_NOTATION = r"^ *[0-9]{1,10}(-[0-9]{1,10})? *(, *[0-9]{1,10}(-[0-9]{1,10})? *)*$"
_SEED_PROBLEM = f"a seed is an integer in 0 … {MAX_SEED}"


class SeedRanges:
    """Seeds in StyleGAN's notation, ``"0-9,42"`` (both ends included), kept as ranges."""

    def __init__(self, notation: str) -> None:
        """Raises ``ValueError`` if the text is not in the notation."""
        self.ranges: list[tuple[int, int]] = []
        for item in notation.split(","):
            match = _RANGE.fullmatch(item.strip(" "))
            if not match:
                raise ValueError(f"{item[:32]!r} is neither a seed nor a range of seeds, as in '0-9,42'")
            first, last = int(match[1]), int(match[2] or match[1])
            if max(first, last) > MAX_SEED:
                raise ValueError(_SEED_PROBLEM)
            if first > last:
                raise ValueError(f"the range {item[:32]!r} goes backwards")
            self.ranges.append((first, last))

    def __len__(self) -> int:
        # Fits in a sequence's length: a range has at most 2³² seeds, and the body's limit bounds the number of ranges.
        return sum(last - first + 1 for first, last in self.ranges)

    def to_list(self) -> list[int]:
        """Returns every seed, in order."""
        return [seed for first, last in self.ranges for seed in range(first, last + 1)]


def _seeds(value: Any) -> list[int] | SeedRanges | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return SeedRanges(value)
        if not isinstance(value, list):
            raise ValueError("seeds are a list of integers, or a text like '0-9,42'")
        if not value:
            raise ValueError("at least one seed is needed")
        # `type`, since isinstance accepts a bool as an int.
        if not all(type(seed) is int and 0 <= seed <= MAX_SEED for seed in value):
            raise ValueError(_SEED_PROBLEM)
    except ValueError as error:
        raise PydanticCustomError("seeds", "{problem}", {"problem": str(error)}) from None
    return value


Seeds = Annotated[
    list[int] | SeedRanges | None,
    PlainValidator(
        _seeds,
        json_schema_input_type=Annotated[list[Annotated[int, Field(ge=0, le=MAX_SEED)]], Field(min_length=1)]
        | Annotated[str, Field(pattern=_NOTATION)]
        | None,
    ),
]
Label = int | str


def _labels(value: Any) -> Label | list[Label] | None:
    given = value if isinstance(value, list) else [value]
    if value is not None and not (given and all(type(label) in (int, str) for label in given)):
        raise PydanticCustomError("labels", "one label or a list of them is needed, each a number or a name")
    labels: Label | list[Label] | None = value
    return labels


Labels = Annotated[
    Label | list[Label] | None,
    PlainValidator(_labels, json_schema_input_type=int | str | Annotated[list[int | str], Field(min_length=1)] | None),
]

Number = Annotated[float, Field(allow_inf_nan=False)]
Vector = Annotated[list[Number], Field(fail_fast=True)]


def require_not_null(name: str, *types: JsonValue) -> dict[str, JsonValue]:
    """Returns the schema of an object that has a field, and not as null: null equals absence."""
    return {"required": [name], "properties": {name: {"type": [*types]}}}


class BodyFields(ImageFields):
    """The fields that the JSON bodies of ``/generate`` and ``/interpolate`` share."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(default=None, description="name of a model; the default model if not given")
    labels: Labels = Field(default=None, description="one label for all images or one each: numbers or names")


class GenerateRequest(BodyFields):
    """The images to generate and their form. Needs one of ``seeds``, ``noise`` and ``count``."""

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        json_schema_extra={
            "oneOf": [
                require_not_null("seeds", "array", "string"),
                require_not_null("noise", "array"),
                require_not_null("count", "integer"),
            ]
        },
    )

    seeds: Seeds = Field(default=None, description="integers in 0 … 2³²−1, or StyleGAN's notation '0-9,42'")
    noise: Annotated[list[Vector], Field(min_length=1, fail_fast=True)] | None = Field(
        default=None, description="one vector of Z numbers for each image"
    )
    count: int | None = Field(default=None, ge=1, description="number of images of random seeds")
    format: StillFormat | None = Field(
        default=None, description=f"{DEFAULT_FORMAT} if neither this nor Accept says otherwise"
    )
    layout: Layout | None = Field(default=None, description="list: each image; grid: one image of all")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("seeds", "noise", "count") if getattr(self, name) is not None]
        if len(given) != 1:
            problem = f"one of seeds, noise and count is needed, not {' and '.join(given) or 'none'}"
            raise PydanticCustomError("one_source", "{problem}", {"problem": problem})
        return self

    @property
    def images(self) -> int:
        """The number of images."""
        if self.count is not None:
            return self.count
        return len(self.seeds if self.seeds is not None else self.noise or ())


def read_generate_request(body: Any, max_images: int) -> GenerateRequest:
    """Validates a decoded JSON body.

    Raises ``ApiError`` with all faults, or if the request asks for more than ``max_images``.
    """
    try:
        request = GenerateRequest.model_validate(body)
    except ValidationError as error:
        raise error_from_validation(error) from None
    if request.images > max_images:
        field = next(name for name in ("seeds", "noise", "count") if getattr(request, name) is not None)
        raise too_many(field, request.images, max_images)
    return request


def too_many(field: str, images: int, max_images: int) -> ApiError:
    """Returns the error for a field that asks for too many images."""
    problem = f"{images} images are more than the {max_images} that one request may ask for"
    return ApiError(ErrorCode.TOO_LARGE, f"{field}: {problem}.", detail=[{"loc": [field], "msg": problem}])
