"""Which form an answer takes: what the body asks for, weighed with the ``Accept`` header (RFC 9110, 12.5.1)."""

import enum
import functools
from collections.abc import Sequence
from dataclasses import dataclass

from serving.encoding.formats import Animation, Format
from serving.errors import ApiError, ErrorCode


class Form(enum.Enum):
    """How images are put into an answer's body."""

    IMAGE = enum.auto()
    JSON = enum.auto()
    ZIP = enum.auto()
    NPY = enum.auto()
    ANIMATION = enum.auto()


@dataclass(frozen=True)
class Offer:
    """An answer that could be given."""

    form: Form
    format: Format | Animation
    media_type: str


_KEPT_ACCEPT = 256

_IMAGE_TYPES: dict[Format, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
NPY_TYPE = "application/x-npy"


def negotiate(offers: Sequence[Offer], accept: str | None) -> Offer:
    """The answer that the client likes best, and of those it likes equally, the first one offered.

    Raises ``ApiError`` if it accepts none of them.
    """
    wanted = _parse(accept)
    weights = [_weight(offer.media_type, wanted) for offer in offers]
    best = max(weights)
    if best > 0:
        return offers[weights.index(best)]
    types = ", ".join(offer.media_type for offer in offers)
    hint = (
        "" if any(offer.form is Form.IMAGE for offer in offers) else "; an image type needs one image, or layout grid"
    )
    raise ApiError(ErrorCode.NOT_ACCEPTABLE, f"Accept: this request can be answered with {types}{hint}.")


def offer_for(asked: Format | None, one_image: bool, accept: str | None) -> Offer:
    """``negotiate`` of ``offers_of``: remembered, as clients ask the same again and again."""
    # The header is the client's: only lengths that programs really send are kept.
    choose = _offer_for if accept is None or len(accept) <= _KEPT_ACCEPT else _offer_for.__wrapped__
    return choose(asked, one_image, accept)


@functools.lru_cache(maxsize=256)
def _offer_for(asked: Format | None, one_image: bool, accept: str | None) -> Offer:
    return negotiate(offers_of(asked, one_image), accept)


@functools.cache
def offers_of(asked: Format | None, one_image: bool) -> tuple[Offer, ...]:
    """What can be offered, best first, for a format (or none) and for one image (or several)."""
    picture: Format = asked or "png"
    in_json, in_zip = Offer(Form.JSON, picture, "application/json"), Offer(Form.ZIP, picture, "application/zip")
    array = Offer(Form.NPY, "npy", NPY_TYPE)
    if asked == "npy":
        return (array, in_json, in_zip) if one_image else (in_json, array, in_zip)
    formats: list[Format] = [asked] if asked else list(_IMAGE_TYPES)
    images = [Offer(Form.IMAGE, name, _IMAGE_TYPES[name]) for name in formats if one_image]
    return (*images, in_json, in_zip, *([] if asked else [array]))


@functools.cache
def animation_offers(asked: Animation | None) -> tuple[Offer, ...]:
    """What can be offered of an animation, best first, for a format (or none)."""
    formats: list[Animation] = [asked] if asked else ["webp", "gif"]
    return tuple(Offer(Form.ANIMATION, name, f"image/{name}") for name in formats)


def _parse(accept: str | None) -> dict[str, float]:
    """Returns media ranges and their weights; no range at all accepts anything, a malformed range nothing."""
    # Ignore empty elements of a list (RFC 9110, 5.6.1).
    items = [item for item in (accept or "").lower().split(",") if item.strip()]
    if not items:
        return {"*/*": 1.0}
    wanted: dict[str, float] = {}
    for item in items:
        media_range, *parameters = (part.strip() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                weight = _quality(value.strip())
        wanted[media_range] = max(weight, wanted.get(media_range, 0.0))
    return wanted


def _quality(text: str) -> float:
    if len(text) <= 5 and text.isascii() and text.replace(".", "", 1).isdigit():
        return min(1.0, float(text))
    return 0.0


def _weight(media_type: str, wanted: dict[str, float]) -> float:
    for media_range in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
        if media_range in wanted:
            return wanted[media_range]
    return 0.0
