"""The request that managed platforms send: a list of instances, answered with as many predictions.

Vertex AI has this form. A body without ``instances``, such as SageMaker's clients choose, is one of ``POST /generate``.
"""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from models.noise import MAX_SEED
from serving.api.requests import GenerateRequest, Label, Vector, read_generate_request, too_many
from serving.encoding.formats import StillFormat
from serving.errors import invalid
from serving.http.validation import error_from_validation
from serving.request_fields import ImageFields


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, fields: Any) -> Any:
        # Vertex AI's own client sends every number as a double: 42 arrives as 42.0.
        if not isinstance(fields, dict):
            return fields
        return {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in fields.items()
        }


class Instance(_Fields):
    """One image. Needs one of ``seed`` and ``noise``."""

    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    noise: Vector | None = None
    label: Label | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.seed is None) == (self.noise is None):
            raise PydanticCustomError("one_source", "one of seed and noise is needed")
        return self


class Parameters(_Fields, ImageFields):
    """What all images of a request share."""

    model: str | None = None
    format: StillFormat | None = None


class PredictRequest(BaseModel):
    """The images to generate, one for each instance."""

    model_config = ConfigDict(extra="forbid", strict=True)

    instances: Annotated[list[Instance], Field(min_length=1)]
    parameters: Parameters | None = None

    def to_generate_request(self) -> GenerateRequest:
        """Returns the request of ``POST /generate`` for the same images. Raises ``ApiError`` for mixed instances."""
        seeds = [instance.seed for instance in self.instances if instance.seed is not None]
        noise = [instance.noise for instance in self.instances if instance.noise is not None]
        labels = [instance.label for instance in self.instances if instance.label is not None]
        if seeds and noise:
            raise invalid("instances", "either each has a seed or each has noise")
        if labels and len(labels) < len(self.instances):
            raise invalid("instances", "either each has a label or none has")
        shared = {} if self.parameters is None else self.parameters.model_dump()
        return GenerateRequest(seeds=seeds or None, noise=noise or None, labels=labels or None, **shared)


def read_predict_request(body: Any, max_images: int) -> tuple[GenerateRequest, bool]:
    """Returns a decoded JSON body as a request for images, and whether it has instances.

    Raises ``ApiError`` with all faults, or if the request asks for more than ``max_images``.
    """
    if not (isinstance(body, dict) and "instances" in body):
        return read_generate_request(body, max_images), False
    try:
        request = PredictRequest.model_validate(body)
    except ValidationError as error:
        raise error_from_validation(error) from None
    if len(request.instances) > max_images:
        raise too_many("instances", len(request.instances), max_images)
    return request.to_generate_request(), True
