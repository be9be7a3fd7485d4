"""Reads an image's address, ``/images/{model}/{seed}.{png,jpg,webp}?…``, and decides how long it may be kept."""

import re
from urllib.parse import parse_qsl

from pydantic import ConfigDict, Field, ValidationError

from models.bundle import Card
from models.noise import MAX_SEED
from serving.api.requests import GenerateRequest
from serving.encoding.formats import IMAGE_FORMATS, enumerate_names
from serving.errors import ApiError, ErrorCode, invalid
from serving.http.validation import error_from_validation
from serving.request_fields import ImageFields

EXTENSIONS = {entry.extension: entry.name for entry in IMAGE_FORMATS}
_EXTENSION_LIST = enumerate_names([f".{extension}" for extension in EXTENSIONS])

# Seeds have no leading zeros, so that an image has one address and a cache keeps it once.
_ADDRESS = re.compile(
    rf"(?P<model>[^/]+)/(?P<seed>0|[1-9][0-9]{{0,9}})\.(?P<extension>{'|'.join(EXTENSIONS)})", re.ASCII
)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)

# With a version, an address always has the same bytes; without one, the newest version may replace them.
_IMMUTABLE = "max-age=31536000, immutable"
_FOR_A_MINUTE = "max-age=60"


class Query(ImageFields):
    """The query parameters of an image's address."""

    model_config = ConfigDict(extra="forbid")

    label: str | None = Field(default=None, description="a label's name or number; without it the seed chooses")


class ImageAddress:
    """One image's address, validated without its model."""

    def __init__(self, address: str, query: str) -> None:
        """Takes the decoded path after ``/images/`` and the raw query. Raises ``ApiError`` if either is invalid."""
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise ApiError(
                ErrorCode.NOT_FOUND, f"An image's address ends in its seed and {_EXTENSION_LIST}, as in 42.png."
            )
        self.model = match["model"]
        self.seed = int(match["seed"])
        self.format = EXTENSIONS[match["extension"]]
        if self.seed > MAX_SEED:
            raise invalid("seed", f"a seed is an integer in 0 … {MAX_SEED}")
        self._query = _read_query(query)
        self.version = self._query.version

    def request(self, card: Card) -> GenerateRequest:
        """Returns the request for this image. A label that is not a name of the model is read as a number."""
        name = self._query.label
        is_number = name is not None and name not in (card.labels or ()) and _NUMBER.fullmatch(name)
        return GenerateRequest(
            model=self.model,
            seeds=[self.seed],
            labels=int(name) if name is not None and is_number else name,
            format=self.format,
            **self._query.model_dump(exclude={"label"}),
        )

    def cache_control(self, *, needs_key: bool) -> str:
        """Returns ``Cache-Control``. If a key is needed, shared caches are excluded: they would ignore it."""
        return f"{'private' if needs_key else 'public'}, {_FOR_A_MINUTE if self.version is None else _IMMUTABLE}"


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
