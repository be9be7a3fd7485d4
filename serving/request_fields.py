"""The request fields that all routes for images share."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, PlainValidator
from pydantic_core import PydanticCustomError

from models.colour import COLOUR_PATTERN, parse_colour
from models.noise import DEFAULT_TRUNCATION
from serving.encoding.formats import BACKGROUND_DESCRIPTION, QUALITY_DESCRIPTION


def _background(value: Any) -> str | None:
    if value is None:
        return None
    try:
        parse_colour(value if isinstance(value, str) else "")
    except ValueError as error:
        raise PydanticCustomError("background", f"{error}; in an address, # is written %23") from None
    colour: str = value
    return colour


Background = Annotated[
    str | None,
    PlainValidator(_background, json_schema_input_type=Annotated[str, Field(pattern=COLOUR_PATTERN)] | None),
]


class ImageFields(BaseModel):
    """The fields of ``/generate``, ``/interpolate``, ``/images`` and ``/v2``: a new one is declared here alone.

    Bodies and queries inherit them. The inference protocol sends ``version`` in its path, ``truncation`` as a tensor,
    and every other field as a parameter of the request.
    """

    version: int | None = Field(default=None, ge=1, description="version of the model; the newest if not given")
    truncation: float | None = Field(default=None, ge=0, le=1, description="1 is none, smaller is more typical")
    quality: int | None = Field(default=None, ge=1, le=100, description=QUALITY_DESCRIPTION)
    background: Background = Field(default=None, description=BACKGROUND_DESCRIPTION)

    @property
    def truncation_or_default(self) -> float:
        """The truncation, 0 … 1."""
        return DEFAULT_TRUNCATION if self.truncation is None else self.truncation

    def truncations(self, count: int) -> NDArray[np.float32]:
        """Returns the truncation of each of ``count`` images, float32 [N]."""
        return np.array([self.truncation_or_default] * count, np.float32)
