"""The OpenAPI 3.1 description of all routes, from the models that validate; another takes a few lines in ``_paths``."""

import functools
import hashlib
import json

from models.bundle import Card
from models.noise import MAX_SEED
from serving.api import pages
from serving.api.image_address import TEMPLATE, Query
from serving.api.interpolation import InterpolateRequest
from serving.api.requests import GenerateRequest
from serving.encoding.formats import ANIMATION_FORMATS, IMAGE_FORMATS, NPY, STILL_FORMAT_NAMES
from serving.errors import ErrorCode
from serving.http.headers import GENERATION_HEADERS, HEADER_LENGTH
from serving.http.openapi_parts import (
    BINARY,
    HEADERS,
    MAKING,
    MODEL,
    TEXT,
    Schema,
    answer,
    gettable,
    json_answer,
    json_body,
    list_of,
    object_of,
    operation,
    parameter,
    query_of,
    ref,
    refused,
    schemas_of,
)
from serving.oip import openapi as openapi_oip

_IMAGE_TYPES = [entry.media_type for entry in IMAGE_FORMATS]

_SCHEMAS: dict[str, Schema] = {
    "Error": object_of(
        error={"type": "string", "description": "one sentence"},
        detail=list_of(object_of(loc=list_of({"type": ["string", "integer"]}), msg=TEXT)),
    ),
    "Images": object_of(
        model=TEXT,
        version={"type": "integer"},
        images=list_of(
            object_of(
                seed={"type": ["integer", "null"]},
                label={"type": ["string", "null"]},
                format={"enum": [*STILL_FORMAT_NAMES]},
                data={"type": "string", "contentEncoding": "base64"},
            )
        ),
    ),
    "Walk": object_of(
        model=TEXT,
        version={"type": "integer"},
        images=list_of(
            object_of(
                position={"type": ["number", "null"], "minimum": 0, "maximum": 1},
                label={"type": ["string", "null"]},
                format={"enum": [*STILL_FORMAT_NAMES]},
                data={"type": "string", "contentEncoding": "base64"},
            )
        ),
    ),
    "Models": object_of(default={"type": ["string", "null"]}, models=list_of(ref("Card"))),
    "Alive": object_of(status={"const": "alive"}),
    "Readiness": object_of(
        {
            "reason": TEXT,
            "reload": object_of(
                {"succeeded": TEXT, "error": TEXT, "since": TEXT}, status={"enum": ["watching", "failing"]}
            ),
        },
        status={"enum": ["loading", "ready", "emptied", "unusable", "lingering", "draining"]},
        models=list_of(object_of(model=TEXT, version={"type": "integer"}, provider=TEXT)),
        refused=list_of(object_of(bundle=TEXT, reason=TEXT)),
        ignored=list_of(object_of(folder=TEXT, reason=TEXT)),
        retained=list_of(TEXT),
    ),
}


def _cached(name: str, summary: str, media_type: str, schema: Schema, *headers: str) -> Schema:
    """A path of a text that stays as it is while the service runs."""
    kept = ("ETag", "Cache-Control", *headers)
    responses = {"200": answer(summary, {media_type: schema}, *kept), "304": answer("Not modified.", {}, *kept)}
    return gettable(operation(name, summary, responses | refused(), parameter("If-None-Match", "header", TEXT)))


_EXAMPLES: dict[str, Schema] = {
    "seeds": {"model": "digits", "seeds": [42], "labels": 7},
    "grid": {"model": "digits", "seeds": "0-15", "layout": "grid", "truncation": 0.7},
    "count": {"model": "digits", "count": 4, "format": "webp", "quality": 80},
}


_WALKS: dict[str, Schema] = {
    "list": {"model": "digits", "from": {"seed": 1}, "to": {"seed": 2}, "labels": 3, "steps": 5},
    "animation": {"model": "digits", "from": {"seed": 1}, "to": {"seed": 2}, "layout": "animation"},
}


def _paths() -> Schema:
    kept = (*GENERATION_HEADERS, "ETag", "Cache-Control")
    page = ("ETag", "Cache-Control", "Content-Security-Policy")
    arrays = {"application/zip": BINARY, NPY.media_type: BINARY}
    forms = {
        **dict.fromkeys(_IMAGE_TYPES, BINARY),
        "application/json": ref("Images"),
        **arrays,
    }
    walks = {
        **dict.fromkeys((*_IMAGE_TYPES, *(entry.media_type for entry in ANIMATION_FORMATS)), BINARY),
        "application/json": ref("Walk"),
        **arrays,
    }
    refusals = (ErrorCode.NOT_JSON, ErrorCode.NOT_ACCEPTABLE, ErrorCode.TOO_LARGE, ErrorCode.UNSUPPORTED_MEDIA_TYPE)
    return {
        "/generate": {
            "post": operation(
                "generate",
                "Images, in the form that Accept asks for: an image, JSON, a ZIP archive or a NumPy array.",
                {"200": answer("The images.", forms, *GENERATION_HEADERS, "Vary"), **refused(*refusals, *MAKING)},
                requestBody=json_body("GenerateRequest", _EXAMPLES),
            )
        },
        "/interpolate": {
            "post": operation(
                "interpolate",
                "The images between two: a list, a strip or an animation.",
                {"200": answer("The images.", walks, *GENERATION_HEADERS, "Vary"), **refused(*refusals, *MAKING)},
                requestBody=json_body("InterpolateRequest", _WALKS),
            )
        },
        TEMPLATE: gettable(
            operation(
                "image",
                "One image by its address, for browsers and caches.",
                {
                    "200": answer("The image.", dict.fromkeys(_IMAGE_TYPES, BINARY), *kept),
                    "304": answer("The client has it already.", {}, *kept),
                    **refused(*MAKING),
                },
                MODEL,
                parameter("seed", "path", {"type": "integer", "minimum": 0, "maximum": MAX_SEED}, 42),
                parameter(
                    "format", "path", {"type": "string", "enum": [entry.extension for entry in IMAGE_FORMATS]}, "png"
                ),
                *query_of(Query, label="7", truncation=0.7, version=3, quality=90),
                parameter("If-None-Match", "header", TEXT),
            )
        ),
        "/models": gettable(
            operation("models", "Every loaded model's card.", {"200": json_answer("The cards.", "Models"), **refused()})
        ),
        "/models/{model}": gettable(
            operation(
                "model",
                "The card of a model's newest version.",
                {"200": json_answer("The card.", "Card"), **refused(ErrorCode.NOT_FOUND)},
                MODEL,
            )
        ),
        "/livez": gettable(
            operation(
                "alive",
                "Whether the process answers, and its devices do.",
                {
                    "200": json_answer("They do.", "Alive"),
                    **refused(needs_key=False),
                    "503": json_answer("A device's thread has died or is stuck.", "Error"),
                },
            )
        ),
        "/readyz": gettable(
            operation(
                "ready",
                "Whether images can be asked for.",
                {
                    "200": json_answer("They can.", "Readiness"),
                    **refused(needs_key=False),
                    "503": json_answer("They cannot yet, or no more.", "Readiness", "Retry-After"),
                },
            )
        ),
        "/metrics": gettable(
            operation("metrics", "For Prometheus.", {"200": answer("Metrics.", {"text/plain": TEXT}), **refused()})
        ),
        pages.INDEX: _cached("playground", "The playground.", "text/html", TEXT, "Content-Security-Policy"),
        pages.TEMPLATE: gettable(
            operation(
                "playground_file",
                "A file of the playground.",
                {
                    "200": answer("The file.", dict.fromkeys(sorted(pages.MEDIA_TYPES.values()), BINARY), *page),
                    "304": answer("Not modified.", {}, *page),
                    **refused(ErrorCode.NOT_FOUND),
                },
                parameter("file", "path", TEXT, "playground.css"),
            )
        ),
        "/openapi.json": _cached("openapi", "This description.", "application/json", {"type": "object"}),
        "/docs": _cached("docs", "This description as a page.", "text/html", TEXT, "Content-Security-Policy"),
    }


def _schemas() -> dict[str, Schema]:
    models = schemas_of(GenerateRequest) | schemas_of(InterpolateRequest) | schemas_of(Card, "serialization")
    return _SCHEMAS | models | openapi_oip.schemas()


@functools.cache
def document() -> Schema:
    """The whole description."""
    headers = {
        # The one that not every answer of its route has: those without binary tensors have not.
        name: {"description": description, "required": name != HEADER_LENGTH, "schema": schema}
        for name, (description, schema) in HEADERS.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Figment", "version": "1", "description": "Images from tuned GAN generators."},
        # Relative to the address of this description, so that it holds behind any proxy's path prefix.
        "servers": [{"url": "."}],
        "paths": _paths() | openapi_oip.paths(),
        "components": {
            "schemas": _schemas(),
            "headers": headers,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic", "description": "any name; the key is the password"},
            },
        },
        # A key is needed only where the operator has set some.
        "security": [{}, {"key": []}, {"password": []}],
    }


@functools.cache
def serialized() -> tuple[bytes, str]:
    """The description's bytes and their strong ETag."""
    return tagged(json.dumps(document(), ensure_ascii=False, separators=(",", ":")).encode())


def tagged(content: bytes) -> tuple[bytes, str]:
    """Bytes with their strong ETag."""
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
