"""Chooses the form of an answer from the body's ``format`` and the ``Accept`` header (RFC 9110, 12.5.1)."""

import enum
import functools
from collections.abc import Sequence
from dataclasses import dataclass

from serving.encoding.formats import ANIMATION_FORMATS, DEFAULT_FORMAT, FORMATS, IMAGE_FORMATS, NPY, ImageFormat
from serving.errors import ApiError, ErrorCode


class Form(enum.Enum):
    """How an answer's body holds the images."""

    IMAGE = enum.auto()
    JSON = enum.auto()
    ZIP = enum.auto()
    NPY = enum.auto()
    ANIMATION = enum.auto()
    PREDICTIONS = enum.auto()
    """JSON with one member, as managed platforms want it."""


@dataclass(frozen=True)
class Offer:
    """A possible answer: the form of its body, the name of the format of its files, and its media type."""

    form: Form
    format: str
    media_type: str


_MAX_CACHED_ACCEPT = 256


def negotiate(offers: Sequence[Offer], accept: str | None) -> Offer:
    """Returns the offer that the client prefers, or the first of several that it prefers equally.

    Raises ``ApiError`` if the client accepts none of them.
    """
    accepted = _parse(accept)
    weights = [_weight(offer.media_type, accepted) for offer in offers]
    best = max(weights)
    if best > 0:
        return offers[weights.index(best)]
    types = ", ".join(offer.media_type for offer in offers)
    hint = (
        "" if any(offer.form is Form.IMAGE for offer in offers) else "; an image type needs one image, or layout grid"
    )
    raise ApiError(ErrorCode.NOT_ACCEPTABLE, f"Accept: this request can be answered with {types}{hint}.")


def offer_for(requested: str | None, one_image: bool, accept: str | None) -> Offer:
    """Negotiates among ``offers_of``. Caches the result, since clients repeat their headers."""
    if accept is not None and len(accept) > _MAX_CACHED_ACCEPT:
        # Clients choose this header: longer ones than programs send would fill the memory.
        return negotiate(offers_of(requested, one_image), accept)
    return _cached_offer_for(requested, one_image, accept)


@functools.lru_cache(maxsize=256)
def _cached_offer_for(requested: str | None, one_image: bool, accept: str | None) -> Offer:
    return negotiate(offers_of(requested, one_image), accept)


@functools.cache
def offers_of(requested: str | None, one_image: bool) -> tuple[Offer, ...]:
    """Returns the possible answers, best first, for a requested format (or none) and for one image (or several)."""
    file_format = requested or DEFAULT_FORMAT
    in_json, in_zip = Offer(Form.JSON, file_format, "application/json"), Offer(Form.ZIP, file_format, "application/zip")
    array = Offer(Form.NPY, NPY.name, NPY.media_type)
    if requested == NPY.name:
        return (array, in_json, in_zip) if one_image else (in_json, array, in_zip)
    images = _offers(Form.IMAGE, requested, IMAGE_FORMATS) if one_image else ()
    return (*images, in_json, in_zip, *([] if requested else [array]))


@functools.cache
def animation_offers(requested: str | None) -> tuple[Offer, ...]:
    """Returns the possible answers with an animation, best first, for a requested format (or none)."""
    return _offers(Form.ANIMATION, requested, ANIMATION_FORMATS)


def predictions_offer(requested: str | None) -> Offer:
    """Returns the only answer to a request with instances, for a requested format (or none)."""
    return Offer(Form.PREDICTIONS, requested or DEFAULT_FORMAT, "application/json")


def _offers(form: Form, requested: str | None, formats: tuple[ImageFormat, ...]) -> tuple[Offer, ...]:
    chosen = (FORMATS[requested],) if requested else formats
    return tuple(Offer(form, entry.name, entry.media_type) for entry in chosen)


def _parse(accept: str | None) -> dict[str, float]:
    """Returns media ranges with their weights. No range accepts everything; a malformed range accepts nothing."""
    # Ignore empty elements of a list (RFC 9110, 5.6.1).
    items = [item for item in (accept or "").lower().split(",") if item.strip()]
    if not items:
        return {"*/*": 1.0}
    accepted: dict[str, float] = {}
    for item in items:
        media_range, *parameters = (part.strip() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                weight = _read_weight(value.strip())
        accepted[media_range] = max(weight, accepted.get(media_range, 0.0))
    return accepted


def _read_weight(text: str) -> float:
    if len(text) <= 5 and text.isascii() and text.replace(".", "", 1).isdigit():
        return min(1.0, float(text))
    return 0.0


def _weight(media_type: str, accepted: dict[str, float]) -> float:
    for media_range in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
        if media_range in accepted:
            return accepted[media_range]
    return 0.0
