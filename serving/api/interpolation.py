"""The request model of ``POST /interpolate``, and the walk from one noise vector to another."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from models.bundle import Card
from models.noise import MAX_SEED, noise_for_seeds
from serving.api.inputs import given_noise, label_indices
from serving.api.requests import BodyFields, Vector, require_not_null, too_many
from serving.encoding.formats import ANIMATION_FORMAT_NAMES, STILL_FORMAT_NAMES, AnyFormat, enumerate_names
from serving.http.validation import error_from_validation
from serving.inference.engine import Inputs

# Below this sine of their angle, two directions count as equal or opposite: no unique great circle joins them.
_SMALLEST_SINE = 1e-6


class End(BaseModel):
    """One end of a walk: a seed, or a noise vector of Z numbers."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"oneOf": [require_not_null("seed", "integer"), require_not_null("noise", "array")]},
    )

    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)
    noise: Vector | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.seed is None) == (self.noise is None):
            raise PydanticCustomError("one_of", "either a seed or noise is needed")
        return self


class InterpolateRequest(BodyFields):
    """A walk from one image to another."""

    start: End = Field(alias="from", description="start of the walk")
    to: End = Field(description="end of the walk")
    steps: int = Field(default=9, ge=2, description="number of images, including the first and the last")
    layout: Literal["list", "grid", "animation"] = Field(
        default="list", description="list: each image; grid: a strip, one row of all; animation: a moving image"
    )
    format: AnyFormat | None = Field(
        default=None,
        description=f"of an animation: {enumerate_names(ANIMATION_FORMAT_NAMES)}; "
        f"of a list or a strip: {enumerate_names(STILL_FORMAT_NAMES)}",
    )
    frames_per_second: Annotated[float, Field(ge=1, le=50)] = Field(default=12, description="of an animation")

    @model_validator(mode="after")
    def _format_fits(self) -> Self:
        allowed = ANIMATION_FORMAT_NAMES if self.layout == "animation" else STILL_FORMAT_NAMES
        if self.format is not None and self.format not in allowed:
            problem = f"layout {self.layout} has the formats {', '.join(allowed)}, not {self.format}"
            raise PydanticCustomError("format", "{problem}", {"problem": problem})
        return self


@dataclass(frozen=True)
class Walk:
    """The device's inputs, and each image's position on the walk: 0 is the start, 1 the end."""

    inputs: Inputs
    positions: list[float]


def read_interpolate_request(body: Any, max_images: int) -> InterpolateRequest:
    """Validates a decoded JSON body.

    Raises ``ApiError`` with all faults, or if the request asks for more than ``max_images``.
    """
    try:
        request = InterpolateRequest.model_validate(body)
    except ValidationError as error:
        raise error_from_validation(error) from None
    if request.steps > max_images:
        raise too_many("steps", request.steps, max_images)
    return request


def prepare_walk(request: InterpolateRequest, card: Card) -> Walk:
    """Returns the inputs of a walk's images. Without labels, all take the label of the first seed.

    Raises ``ApiError`` for noise or labels that the model does not take.
    """
    positions = np.linspace(0, 1, request.steps)
    noise = spherical(_noise(request.start, "from", card), _noise(request.to, "to", card), positions)
    seeds = None if request.start.seed is None else [request.start.seed] * request.steps
    label = label_indices(request.labels, request.steps, seeds, card)
    return Walk(Inputs(noise, label, request.truncations(request.steps)), positions.tolist())


def spherical(
    start: NDArray[np.float32], end: NDArray[np.float32], positions: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Returns noise float32 [K, Z] between ``start`` and ``end``, float32 [Z], at positions float64 [K] in 0 … 1.

    The direction follows the great circle, and the length changes linearly. A straight line would pass closer to the
    origin than Gaussian noise does (White 2016, arXiv:1609.04468). Positions 0 and 1 return the ends exactly.
    """
    a, b = start.astype(np.float64), end.astype(np.float64)
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    along = positions[:, None]
    if min(lengths) > 0:
        cosine = np.clip(a @ b / (lengths[0] * lengths[1]), -1, 1)
        angle = np.arccos(cosine)
        sine = np.sin(angle)
    if min(lengths) == 0 or sine < _SMALLEST_SINE:
        walk = (1 - along) * a + along * b
    else:
        direction = (np.sin((1 - along) * angle) * a / lengths[0] + np.sin(along * angle) * b / lengths[1]) / sine
        walk = direction * ((1 - along) * lengths[0] + along * lengths[1])
    noise: NDArray[np.float32] = walk.astype(np.float32)
    noise[positions == 0], noise[positions == 1] = start, end
    return noise


def _noise(end: End, field: str, card: Card) -> NDArray[np.float32]:
    if end.seed is not None:
        rows = noise_for_seeds([end.seed], card.noise_dim)
    else:
        assert end.noise is not None
        rows = given_noise([end.noise], card, field)
    return rows.reshape(card.noise_dim)
