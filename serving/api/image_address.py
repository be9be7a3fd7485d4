"""An image's address, ``/images/{model}/{seed}.{extension}?…``: what it asks for, and how long it may be kept."""

import re
from typing import Annotated
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.bundle import Card
from models.noise import MAX_SEED
from serving.api.requests import GenerateRequest
from serving.encoding.formats import IMAGE_FORMATS, QUALITY_DESCRIPTION, enumerate_names
from serving.errors import ApiError, ErrorCode, invalid
from serving.http.validation import error_from_validation

TEMPLATE = "/images/{model}/{seed}.{format}"

_FORMATS = {entry.extension: entry.name for entry in IMAGE_FORMATS}
_EXTENSIONS = enumerate_names([f".{extension}" for extension in _FORMATS])

# Without leading zeros, so that an image has one address and a cache keeps it once.
_PATH = re.compile(
    rf"/images/(?P<model>[^/]+)/(?P<seed>0|[1-9][0-9]{{0,9}})\.(?P<extension>{'|'.join(_FORMATS)})", re.ASCII
)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)

# With a version an address means the same bytes for ever; without one it means the newest version's.
_FOR_EVER = "max-age=31536000, immutable"
_FOR_A_MINUTE = "max-age=60"


class Query(BaseModel):
    """The parameters of an image's address."""

    model_config = ConfigDict(extra="forbid")

    label: str | None = Field(default=None, description="a label's name or number; without it the seed chooses")
    truncation: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="1 is none, smaller is more typical"
    )
    version: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="with it the image may be kept for ever; the newest if not given"
    )
    quality: Annotated[int, Field(ge=1, le=100)] | None = Field(default=None, description=QUALITY_DESCRIPTION)


class ImageAddress:
    """One image's address, checked as far as that goes without its model."""

    def __init__(self, path: str, query: str) -> None:
        """Takes the decoded path and the raw query. Raises ``ApiError`` for what is no image's address."""
        match = _PATH.fullmatch(path)
        if match is None:
            raise ApiError(ErrorCode.NOT_FOUND, f"An image's address ends in its seed and {_EXTENSIONS}, as in 42.png.")
        self.model = match["model"]
        self.seed = int(match["seed"])
        self.format = _FORMATS[match["extension"]]
        if self.seed > MAX_SEED:
            raise invalid("seed", f"a seed is an integer in 0 … {MAX_SEED}")
        self._query = _read_query(query)
        self.version = self._query.version

    def request(self, card: Card) -> GenerateRequest:
        """What to generate. A label that is no name of this model's is taken for its number."""
        name = self._query.label
        is_number = name is not None and name not in (card.labels or ()) and _NUMBER.fullmatch(name)
        return GenerateRequest(
            model=self.model,
            version=self.version,
            seeds=[self.seed],
            labels=int(name) if name is not None and is_number else name,
            truncation=self._query.truncation,
            format=self.format,
            quality=self._query.quality,
        )

    def cache_control(self, *, needs_key: bool) -> str:
        """How long the image may be kept, and by whom: a shared cache would give it to those without a key."""
        return f"{'private' if needs_key else 'public'}, {_FOR_A_MINUTE if self.version is None else _FOR_EVER}"


def matches(etag: str, if_none_match: str | None) -> bool:
    """Whether a client that sent this ``If-None-Match`` has the image already (RFC 9110, 13.1.2)."""
    candidates = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return "*" in candidates or etag in candidates


def _read_query(query: str) -> Query:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=16, errors="strict")
    except ValueError:
        raise invalid("query", "at most 16 parameters in UTF-8") from None
    values = dict(pairs)
    if len(values) < len(pairs):
        repeated = next(name for name, _ in pairs if [other for other, _ in pairs].count(name) > 1)
        raise invalid(repeated[:64], "may be given once")
    try:
        return Query.model_validate(values)
    except ValidationError as error:
        raise error_from_validation(error) from None
