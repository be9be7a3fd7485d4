"""The table of Figment's own routes. A route is one row: method, path, handler, access and description."""

from models.noise import MAX_SEED
from serving.api import documentation, endpoints, pages
from serving.api.image_address import EXTENSIONS, Query
from serving.api.interpolation import InterpolateRequest
from serving.api.requests import GenerateRequest
from serving.encoding.formats import ANIMATION_FORMATS, IMAGE_FORMATS, NPY, STILL_FORMAT_NAMES
from serving.errors import ErrorCode
from serving.http.openapi import (
    BINARY,
    GENERATION_ERRORS,
    MODEL,
    TEXT,
    Schema,
    errors,
    json_body,
    json_response,
    list_of,
    object_of,
    operation,
    parameter,
    query_of,
    ref,
    response,
    schemas_of,
)
from serving.http.request_record import GENERATION_HEADERS
from serving.http.routing import Access, Route


def _images_schema(**member: Schema) -> Schema:
    """The schema of images in JSON, each with one member that tells it from the others."""
    return object_of(
        model=TEXT,
        version={"type": "integer"},
        images=list_of(
            object_of(
                **member,
                label={"type": ["string", "null"]},
                format={"enum": [*STILL_FORMAT_NAMES]},
                data={"type": "string", "contentEncoding": "base64"},
            )
        ),
    )


def schemas() -> dict[str, Schema]:
    """Returns the named schemas: requests from the models that validate them, responses as they are written."""
    return {
        "Error": object_of(
            error={"type": "string", "description": "one sentence"},
            detail=list_of(object_of(loc=list_of({"type": ["string", "integer"]}), msg=TEXT)),
        ),
        "Images": _images_schema(seed={"type": ["integer", "null"]}),
        "Walk": _images_schema(position={"type": ["number", "null"], "minimum": 0, "maximum": 1}),
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
        **schemas_of(GenerateRequest),
        **schemas_of(InterpolateRequest),
    }


_GENERATE_EXAMPLES: dict[str, Schema] = {
    "seeds": {"model": "digits", "seeds": [42], "labels": 7},
    "grid": {"model": "digits", "seeds": "0-15", "layout": "grid", "truncation": 0.7},
    "count": {"model": "digits", "count": 4, "format": "webp", "quality": 80},
}
_INTERPOLATE_EXAMPLES: dict[str, Schema] = {
    "list": {"model": "digits", "from": {"seed": 1}, "to": {"seed": 2}, "labels": 3, "steps": 5},
    "animation": {"model": "digits", "from": {"seed": 1}, "to": {"seed": 2}, "layout": "animation"},
}

_BODY_ERRORS = (ErrorCode.NOT_JSON, ErrorCode.NOT_ACCEPTABLE, ErrorCode.TOO_LARGE, ErrorCode.UNSUPPORTED_MEDIA_TYPE)
_ARRAYS = {"application/zip": BINARY, NPY.media_type: BINARY}
_IMAGE_TYPES = [entry.media_type for entry in IMAGE_FORMATS]
_ANIMATION_TYPES = [entry.media_type for entry in ANIMATION_FORMATS]
_GENERATED = {**dict.fromkeys(_IMAGE_TYPES, BINARY), "application/json": ref("Images"), **_ARRAYS}
_INTERPOLATED = {
    **dict.fromkeys((*_IMAGE_TYPES, *_ANIMATION_TYPES), BINARY),
    "application/json": ref("Walk"),
    **_ARRAYS,
}
_IF_NONE_MATCH = parameter("If-None-Match", "header", TEXT)


def cached(description: str, content: dict[str, Schema], *headers: str) -> dict[str, Schema]:
    """Describes the responses of a route that clients may keep: 200, and 304 without content."""
    kept = (*headers, "ETag", "Cache-Control")
    return {
        "200": response(description, content, *kept),
        "304": response("The client has the current content.", {}, *kept),
    }


ROUTES = (
    Route(
        method="POST",
        template="/generate",
        handler=endpoints.generate_images,
        operation=operation(
            "generate",
            "Images, in the form that Accept asks for: an image, JSON, a ZIP archive or a NumPy array.",
            errors(*_BODY_ERRORS, *GENERATION_ERRORS)
            | {"200": response("The images.", _GENERATED, *GENERATION_HEADERS, "Vary")},
            requestBody=json_body("GenerateRequest", _GENERATE_EXAMPLES),
        ),
    ),
    Route(
        method="POST",
        template="/interpolate",
        handler=endpoints.interpolate_images,
        operation=operation(
            "interpolate",
            "The images between two: a list, a strip or an animation.",
            errors(*_BODY_ERRORS, *GENERATION_ERRORS)
            | {"200": response("The images.", _INTERPOLATED, *GENERATION_HEADERS, "Vary")},
            requestBody=json_body("InterpolateRequest", _INTERPOLATE_EXAMPLES),
        ),
    ),
    Route(
        method="GET",
        template="/images/{model}/{seed}.{format}",
        matches="/images/{address:path}",
        handler=endpoints.show_image,
        operation=operation(
            "image",
            "One image by its address, for browsers and caches; with a version, it may be kept for a year.",
            errors(*GENERATION_ERRORS) | cached("The image.", dict.fromkeys(_IMAGE_TYPES, BINARY), *GENERATION_HEADERS),
            MODEL,
            parameter("seed", "path", {"type": "integer", "minimum": 0, "maximum": MAX_SEED}, 42),
            parameter("format", "path", {"type": "string", "enum": [*EXTENSIONS]}, "png"),
            *query_of(Query, label="7", truncation=0.7, version=3, quality=90, background="#ffd700"),
            _IF_NONE_MATCH,
        ),
    ),
    Route(
        method="GET",
        template="/models",
        handler=endpoints.list_models,
        operation=operation(
            "models", "The card of every loaded model.", {"200": json_response("The cards.", "Models")}
        ),
    ),
    Route(
        method="GET",
        template="/models/{model}",
        handler=endpoints.show_model,
        operation=operation(
            "model",
            "The card of a model's newest version.",
            errors(ErrorCode.NOT_FOUND) | {"200": json_response("The card.", "Card")},
            MODEL,
        ),
    ),
    Route(
        method="GET",
        template="/livez",
        handler=endpoints.show_alive,
        access=Access.PUBLIC,
        operation=operation(
            "alive",
            "Whether the event loop and the devices' threads run.",
            {
                "200": json_response("They run.", "Alive"),
                "503": json_response("A device's thread has died or is stuck.", "Error"),
            },
        ),
    ),
    Route(
        method="GET",
        template="/readyz",
        handler=endpoints.show_ready,
        access=Access.PUBLIC,
        operation=operation(
            "ready",
            "Whether the service takes requests for images.",
            {
                "200": json_response("It does.", "Readiness"),
                "503": json_response("Not yet, or no longer.", "Readiness", "Retry-After"),
            },
        ),
    ),
    Route(
        method="GET",
        template="/metrics",
        handler=endpoints.show_metrics,
        access=Access.METRICS,
        operation=operation("metrics", "For Prometheus.", {"200": response("Metrics.", {"text/plain": TEXT})}),
    ),
    Route(
        method="GET",
        template=pages.INDEX,
        handler=pages.show_page,
        operation=operation(
            "playground",
            "The playground.",
            cached("The playground.", {"text/html": TEXT}, "Content-Security-Policy"),
            _IF_NONE_MATCH,
        ),
    ),
    Route(
        method="GET",
        template="/playground/{file}",
        matches="/playground/{file:path}",
        handler=pages.show_page,
        operation=operation(
            "playground_file",
            "A file of the playground.",
            errors(ErrorCode.NOT_FOUND)
            | cached("The file.", dict.fromkeys(sorted(pages.MEDIA_TYPES.values()), BINARY), "Content-Security-Policy"),
            parameter("file", "path", TEXT, "playground.css"),
        ),
    ),
    Route(
        method="GET",
        template="/docs",
        handler=documentation.show_docs,
        operation=operation(
            "docs",
            "The API reference as a page.",
            cached("The page.", {"text/html": TEXT}, "Content-Security-Policy"),
            _IF_NONE_MATCH,
        ),
    ),
)
