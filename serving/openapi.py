"""The OpenAPI 3.1 description of all routes, from the models that validate; another takes a few lines in ``_paths``."""

import functools
import hashlib
import json
from typing import Any

from pydantic import BaseModel

from models.bundle import NAME_PATTERN, Card
from models.noise import MAX_SEED
from serving import pages
from serving.errors import STATUS, Refusal
from serving.image_address import TEMPLATE, Query
from serving.interpolation import InterpolateRequest
from serving.requests import GenerateRequest

Schema = dict[str, Any]

_REF = "#/components/schemas/"
_TEXT: Schema = {"type": "string"}
_BINARY: Schema = {}
_IMAGES = ("image/png", "image/jpeg", "image/webp")

_REFUSED: dict[Refusal, str] = {
    Refusal.NOT_JSON: "The body is not JSON.",
    Refusal.UNAUTHORIZED: "A key is needed, or the one given is not known.",
    Refusal.NOT_FOUND: "There is no such model, version or address.",
    Refusal.METHOD_NOT_ALLOWED: "This path answers other methods: see Allow.",
    Refusal.NOT_ACCEPTABLE: "This request has no answer that Accept allows.",
    Refusal.TOO_LARGE: "The body, the number of images or their pixels are over the limit.",
    Refusal.ADDRESS_TOO_LONG: "The address is over its limit.",
    Refusal.UNSUPPORTED_MEDIA_TYPE: "The body is not application/json, or it is compressed.",
    Refusal.INVALID: "A field does not fit, in itself or the model; detail names each.",
    Refusal.HEADERS_TOO_LARGE: "The headers are over their limit.",
    Refusal.QUEUE_FULL: "The queue is full.",
    Refusal.BROKEN: "The service failed; its log says why.",
    Refusal.UNAVAILABLE: "Not ready yet, or shutting down.",
    Refusal.DEADLINE: "The deadline passed before the images were made.",
}
# What any request can end in.
_ALWAYS = (Refusal.METHOD_NOT_ALLOWED, Refusal.ADDRESS_TOO_LONG, Refusal.HEADERS_TOO_LARGE, Refusal.BROKEN)
_WITH_HEADER = {
    Refusal.UNAUTHORIZED: "WWW-Authenticate",
    Refusal.METHOD_NOT_ALLOWED: "Allow",
    Refusal.QUEUE_FULL: "Retry-After",
    Refusal.UNAVAILABLE: "Retry-After",
}
# What the making of images can end in, whatever route asks for them.
_MAKING = (
    Refusal.NOT_FOUND,
    Refusal.TOO_LARGE,
    Refusal.INVALID,
    Refusal.QUEUE_FULL,
    Refusal.UNAVAILABLE,
    Refusal.DEADLINE,
)

_HEADERS: dict[str, tuple[str, Schema]] = {
    "X-Request-ID": ("The request's own, if it had a usable one.", {"type": "string", "pattern": "^[!-~]{1,128}$"}),
    "X-Figment-Seeds": (
        "The images' seeds; empty for given noise.",
        {"type": "string", "pattern": "^([0-9]+(,[0-9]+)*)?$"},
    ),
    "Server-Timing": ("Milliseconds in queue, inference and encode.", _TEXT),
    "ETag": ("Of the very bytes of this answer.", {"type": "string", "pattern": '^".+"$'}),
    "Cache-Control": ("How long the answer may be kept, and by whom.", _TEXT),
    "Retry-After": ("Seconds after which to ask again.", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": ("The kind of key that is needed: Bearer.", _TEXT),
    "Allow": ("The methods that this path answers.", _TEXT),
    "Vary": ("The request headers that the answer depends on.", _TEXT),
    "Content-Security-Policy": ("What the page may load: nothing from other hosts.", _TEXT),
}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": _REF + name}


_SCHEMAS: dict[str, Schema] = {
    "Error": _object(
        error={"type": "string", "description": "one sentence"},
        detail=_list(_object(loc=_list({"type": ["string", "integer"]}), msg=_TEXT)),
    ),
    "Images": _object(
        model=_TEXT,
        version={"type": "integer"},
        images=_list(
            _object(
                seed={"type": ["integer", "null"]},
                label={"type": ["string", "null"]},
                format={"enum": ["png", "jpeg", "webp", "npy"]},
                data={"type": "string", "contentEncoding": "base64"},
            )
        ),
    ),
    "Walk": _object(
        model=_TEXT,
        version={"type": "integer"},
        images=_list(
            _object(
                position={"type": ["number", "null"], "minimum": 0, "maximum": 1},
                label={"type": ["string", "null"]},
                format={"enum": ["png", "jpeg", "webp", "npy"]},
                data={"type": "string", "contentEncoding": "base64"},
            )
        ),
    ),
    "Models": _object(default={"type": ["string", "null"]}, models=_list(_ref("Card"))),
    "Alive": _object(status={"const": "alive"}),
    "Readiness": _object(
        status={"enum": ["loading", "ready", "unusable", "draining"]},
        models=_list(_object(model=_TEXT, version={"type": "integer"}, provider=_TEXT)),
        refused=_list(_object(bundle=_TEXT, reason=_TEXT)),
    ),
}


def _answer(description: str, content: dict[str, Schema], *headers: str) -> Schema:
    """A response: its media types with their schemas, and its headers beside X-Request-ID."""
    return {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *headers)},
    } | ({"content": {media_type: {"schema": schema} for media_type, schema in content.items()}} if content else {})


def _json(description: str, name: str, *headers: str) -> Schema:
    return _answer(description, {"application/json": _ref(name)}, *headers)


def _refused(*refusals: Refusal, needs_key: bool = True) -> dict[str, Schema]:
    keys = (Refusal.UNAUTHORIZED,) if needs_key else ()
    return {
        str(STATUS[refusal]): _json(_REFUSED[refusal], "Error", *filter(None, [_WITH_HEADER.get(refusal)]))
        for refusal in sorted({*refusals, *keys, *_ALWAYS}, key=STATUS.__getitem__)
    }


def _parameter(name: str, where: str, schema: Schema, example: Any = None, description: str = "") -> Schema:
    shown = ({} if example is None else {"example": example}) | ({"description": description} if description else {})
    return {"name": name, "in": where, "required": where == "path", "schema": schema} | shown


def _query(model: type[BaseModel], **examples: Any) -> list[Schema]:
    """A model's fields as parameters. A URL has no null: a field that may be none may be left out."""
    parameters = []
    for name, field in model.model_json_schema()["properties"].items():
        schema = next(option for option in field.get("anyOf", [field]) if option.get("type") != "null")
        parameters.append(_parameter(name, "query", schema, examples.get(name), field.get("description", "")))
    return parameters


def _operation(name: str, summary: str, responses: dict[str, Schema], *parameters: Schema, **more: Any) -> Schema:
    own = _parameter("X-Request-ID", "header", _TEXT, description="comes back, if it is 1 … 128 visible characters")
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [*parameters, own],
        "responses": dict(sorted(responses.items())),
        **more,
    }


def _gettable(operation: Schema) -> Schema:
    """A path that answers GET, and HEAD with the same headers and no body."""
    responses = {
        status: {name: value for name, value in answer.items() if name != "content"}
        for status, answer in operation["responses"].items()
    }
    head = operation | {"operationId": f"{operation['operationId']}_head", "responses": responses}
    return {"get": operation, "head": head | {"summary": operation["summary"] + " Headers only."}}


def _cached(name: str, summary: str, media_type: str, schema: Schema, *headers: str) -> Schema:
    """A path of a text that stays as it is while the service runs."""
    kept = ("ETag", "Cache-Control", *headers)
    responses = {"200": _answer(summary, {media_type: schema}, *kept), "304": _answer("Not modified.", {}, *kept)}
    return _gettable(_operation(name, summary, responses | _refused(), _parameter("If-None-Match", "header", _TEXT)))


_EXAMPLES: dict[str, Schema] = {
    "seeds": {"model": "digits", "seeds": [42], "labels": 7},
    "grid": {"model": "digits", "seeds": "0-15", "layout": "grid", "truncation": 0.7},
    "count": {"model": "digits", "count": 4, "format": "webp", "quality": 80},
}


_WALKS: dict[str, Schema] = {
    "list": {"model": "digits", "from": {"seed": 1}, "to": {"seed": 2}, "labels": 3, "steps": 5},
    "animation": {"model": "digits", "from": {"seed": 1}, "to": {"seed": 2}, "layout": "animation"},
}


def _body(name: str, examples: dict[str, Schema]) -> Schema:
    shown = {example: {"value": value} for example, value in examples.items()}
    return {"required": True, "content": {"application/json": {"schema": _ref(name), "examples": shown}}}


def _paths() -> Schema:
    made = ("X-Figment-Seeds", "Server-Timing")
    kept = (*made, "ETag", "Cache-Control")
    model = _parameter("model", "path", {"type": "string", "pattern": NAME_PATTERN}, "digits", "name of a model")
    arrays = {"application/zip": _BINARY, "application/x-npy": _BINARY}
    forms = {
        **dict.fromkeys(_IMAGES, _BINARY),
        "application/json": _ref("Images"),
        **arrays,
    }
    walks = {**dict.fromkeys((*_IMAGES, "image/gif"), _BINARY), "application/json": _ref("Walk"), **arrays}
    refusals = (Refusal.NOT_JSON, Refusal.NOT_ACCEPTABLE, Refusal.TOO_LARGE, Refusal.UNSUPPORTED_MEDIA_TYPE)
    return {
        "/generate": {
            "post": _operation(
                "generate",
                "Images, in the form that Accept asks for: an image, JSON, a ZIP archive or a NumPy array.",
                {"200": _answer("The images.", forms, *made, "Vary"), **_refused(*refusals, *_MAKING)},
                requestBody=_body("GenerateRequest", _EXAMPLES),
            )
        },
        "/interpolate": {
            "post": _operation(
                "interpolate",
                "The images between two: a list, a strip or an animation.",
                {"200": _answer("The images.", walks, *made, "Vary"), **_refused(*refusals, *_MAKING)},
                requestBody=_body("InterpolateRequest", _WALKS),
            )
        },
        TEMPLATE: _gettable(
            _operation(
                "image",
                "One image by its address, for browsers and caches.",
                {
                    "200": _answer("The image.", dict.fromkeys(_IMAGES, _BINARY), *kept),
                    "304": _answer("The client has it already.", {}, *kept),
                    **_refused(*_MAKING),
                },
                model,
                _parameter("seed", "path", {"type": "integer", "minimum": 0, "maximum": MAX_SEED}, 42),
                _parameter("format", "path", {"type": "string", "enum": ["png", "jpg", "webp"]}, "png"),
                *_query(Query, label="7", truncation=0.7, version=1, quality=90),
                _parameter("If-None-Match", "header", _TEXT),
            )
        ),
        "/models": _gettable(
            _operation("models", "Every loaded model's card.", {"200": _json("The cards.", "Models"), **_refused()})
        ),
        "/models/{model}": _gettable(
            _operation(
                "model",
                "The card of a model's newest version.",
                {"200": _json("The card.", "Card"), **_refused(Refusal.NOT_FOUND)},
                model,
            )
        ),
        "/livez": _gettable(
            _operation(
                "alive",
                "Whether the process answers, and its devices do.",
                {
                    "200": _json("They do.", "Alive"),
                    **_refused(needs_key=False),
                    "503": _json("A device's thread has died or is stuck.", "Error"),
                },
            )
        ),
        "/readyz": _gettable(
            _operation(
                "ready",
                "Whether images can be asked for.",
                {
                    "200": _json("They can.", "Readiness"),
                    **_refused(needs_key=False),
                    "503": _json("They cannot yet, or no more.", "Readiness", "Retry-After"),
                },
            )
        ),
        "/metrics": _gettable(
            _operation("metrics", "For Prometheus.", {"200": _answer("Metrics.", {"text/plain": _TEXT}), **_refused()})
        ),
        pages.INDEX: _cached("playground", "The playground.", "text/html", _TEXT, "Content-Security-Policy"),
        pages.TEMPLATE: _gettable(
            _operation(
                "playground_file",
                "A file of the playground.",
                {
                    "200": _answer("The file.", dict.fromkeys(sorted(pages.MEDIA_TYPES.values()), _BINARY), "ETag"),
                    "304": _answer("Not modified.", {}, "ETag"),
                    **_refused(Refusal.NOT_FOUND),
                },
                _parameter("file", "path", _TEXT, "playground.css"),
            )
        ),
        "/openapi.json": _cached("openapi", "This description.", "application/json", {"type": "object"}),
        "/docs": _cached("docs", "This description as a page.", "text/html", _TEXT, "Content-Security-Policy"),
    }


def _components() -> dict[str, Schema]:
    schemas = dict(_SCHEMAS)
    for model, mode in ((GenerateRequest, "validation"), (InterpolateRequest, "validation"), (Card, "serialization")):
        schema = model.model_json_schema(ref_template=_REF + "{model}", mode=mode)  # type: ignore[arg-type]
        schemas |= schema.pop("$defs", {}) | {model.__name__: schema}
    return schemas


_ABOUT = (
    "Images from tuned GAN generators. Below /v2 the same generators speak the Open Inference Protocol, "
    "whose own specification describes it: github.com/kserve/open-inference-protocol."
)


@functools.cache
def document() -> Schema:
    """The whole description."""
    headers = {
        name: {"description": description, "required": True, "schema": schema}
        for name, (description, schema) in _HEADERS.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Figment", "version": "1", "description": _ABOUT},
        "paths": _paths(),
        "components": {
            "schemas": _components(),
            "headers": headers,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        # A key is needed only where the operator has set some.
        "security": [{}, {"key": []}],
    }


@functools.cache
def serialized() -> tuple[bytes, str]:
    """The description's bytes and their strong ETag."""
    return tagged(json.dumps(document(), ensure_ascii=False, separators=(",", ":")).encode())


def tagged(content: bytes) -> tuple[bytes, str]:
    """Bytes with their strong ETag."""
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
