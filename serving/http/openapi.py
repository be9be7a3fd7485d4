"""Builds OpenAPI 3.1 descriptions: operations, responses, parameters and headers, and the path item of a route."""

from functools import partial
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from models.bundle import NAME_PATTERN
from serving.errors import STATUS, ErrorCode, is_oip
from serving.http.body import JSON_LENGTH_HEADER
from serving.http.routing import Access, Route

Schema = dict[str, Any]

REF = "#/components/schemas/"
TEXT: Schema = {"type": "string"}
BINARY: Schema = {}

_ERROR_DESCRIPTIONS: dict[ErrorCode, str] = {
    ErrorCode.NOT_HTTP: "The request is not HTTP/1.1.",
    ErrorCode.NOT_JSON: "The body is not JSON, or the request is not HTTP/1.1.",
    ErrorCode.UNAUTHORIZED: "A key is needed, or the given key is unknown.",
    ErrorCode.NOT_FOUND: "There is no such model, version or address.",
    ErrorCode.METHOD_NOT_ALLOWED: "This path answers other methods: see Allow.",
    ErrorCode.NOT_ACCEPTABLE: "No response to this request has a media type that Accept allows.",
    ErrorCode.TOO_SLOW: "The request did not arrive in time.",
    ErrorCode.TOO_LARGE: "The body, the number of images or their pixels are over the limit.",
    ErrorCode.ADDRESS_TOO_LONG: "The address is over its limit.",
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: "The body has another media type, or it is compressed.",
    ErrorCode.INVALID: "A field is invalid, in itself or for the model; detail names each.",
    ErrorCode.HEADERS_TOO_LARGE: "The headers are over their limit.",
    ErrorCode.QUEUE_FULL: "The queue is full.",
    ErrorCode.BROKEN: "The service failed; its log says why.",
    ErrorCode.UNAVAILABLE: "Not ready yet, or shutting down.",
    ErrorCode.DEADLINE: "The deadline passed before the images were generated.",
}
# The errors of every route.
_COMMON_ERRORS = (
    ErrorCode.NOT_HTTP,
    ErrorCode.METHOD_NOT_ALLOWED,
    ErrorCode.TOO_SLOW,
    ErrorCode.ADDRESS_TOO_LONG,
    ErrorCode.HEADERS_TOO_LARGE,
    ErrorCode.BROKEN,
)
_ERROR_HEADERS = {
    ErrorCode.UNAUTHORIZED: "WWW-Authenticate",
    ErrorCode.METHOD_NOT_ALLOWED: "Allow",
    ErrorCode.QUEUE_FULL: "Retry-After",
    ErrorCode.UNAVAILABLE: "Retry-After",
}
GENERATION_ERRORS = (
    ErrorCode.NOT_FOUND,
    ErrorCode.TOO_LARGE,
    ErrorCode.INVALID,
    ErrorCode.QUEUE_FULL,
    ErrorCode.UNAVAILABLE,
    ErrorCode.DEADLINE,
)
"""The errors of every route that generates images."""

HEADERS: dict[str, tuple[str, Schema]] = {
    "X-Request-ID": ("The request's own, if it had a usable one.", {"type": "string", "pattern": "^[!-~]{1,128}$"}),
    "X-Figment-Model": ("The model that generated the images.", {"type": "string", "pattern": NAME_PATTERN}),
    "X-Figment-Version": ("Its version.", {"type": "integer", "minimum": 1}),
    "X-Figment-Seeds": (
        "The images' seeds; empty for given noise.",
        {"type": "string", "pattern": "^([0-9]+(,[0-9]+)*)?$"},
    ),
    "Server-Timing": ("Milliseconds in queue, inference and encode.", TEXT),
    "ETag": ("Identifies the exact bytes of this response.", {"type": "string", "pattern": '^".+"$'}),
    "Cache-Control": ("How long the response may be kept, and by whom.", TEXT),
    "Retry-After": ("Seconds to wait before the next try.", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": ("The kinds of key: Bearer, or Basic with the key as password.", TEXT),
    "Allow": ("The methods that this path answers.", TEXT),
    "Vary": ("The request headers that the response depends on.", TEXT),
    JSON_LENGTH_HEADER: ("The length of the JSON in bytes, if binary tensors follow it.", {"type": "integer"}),
    "Content-Security-Policy": ("What the page may load: nothing from other hosts.", TEXT),
}


def object_of(optional: dict[str, Schema] | None = None, /, **properties: Schema) -> Schema:
    """Returns the schema of an object that has all of these fields, and may have the ``optional`` ones."""
    return {"type": "object", "properties": properties | (optional or {}), "required": list(properties)}


def list_of(items: Schema) -> Schema:
    """Returns the schema of a list of any length."""
    return {"type": "array", "items": items}


def ref(name: str) -> Schema:
    """Returns a reference to a named schema."""
    return {"$ref": REF + name}


def schemas_of(model: type[BaseModel], mode: JsonSchemaMode = "validation") -> dict[str, Schema]:
    """Returns the schemas of a pydantic model and of the models in it, by their names."""
    schema = model.model_json_schema(ref_template=REF + "{model}", mode=mode)
    return {**schema.pop("$defs", {}), model.__name__: schema}


def response(description: str, content: dict[str, Schema], *headers: str) -> Schema:
    """Describes a response: its media types with their schemas, and its headers beside X-Request-ID."""
    return {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *headers)},
    } | ({"content": {media_type: {"schema": schema} for media_type, schema in content.items()}} if content else {})


def json_response(description: str, name: str, *headers: str) -> Schema:
    """Describes a response in JSON that has a named schema."""
    return response(description, {"application/json": ref(name)}, *headers)


def errors(*codes: ErrorCode, schema: str = "Error") -> dict[str, Schema]:
    """Describes these errors by their statuses; ``schema`` names their body's."""
    return {
        str(STATUS[code]): json_response(_ERROR_DESCRIPTIONS[code], schema, *filter(None, [_ERROR_HEADERS.get(code)]))
        for code in codes
    }


oip_errors = partial(errors, schema="InferenceError")
"""The same in the form of the Open Inference Protocol."""


def json_body(name: str, examples: dict[str, Schema]) -> Schema:
    """Describes a request's body in JSON that has a named schema."""
    shown = {example: {"value": value} for example, value in examples.items()}
    return {"required": True, "content": {"application/json": {"schema": ref(name), "examples": shown}}}


def parameter(name: str, where: str, schema: Schema, example: Any = None, description: str = "") -> Schema:
    """Describes a parameter in the path, the query or a header; only those in the path are required."""
    shown = ({} if example is None else {"example": example}) | ({"description": description} if description else {})
    return {"name": name, "in": where, "required": where == "path", "schema": schema} | shown


def query_of(model: type[BaseModel], **examples: Any) -> list[Schema]:
    """Describes a model's fields as query parameters. A URL has no null, so a nullable field is one to leave out."""
    parameters = []
    for name, field in model.model_json_schema()["properties"].items():
        schema = next(option for option in field.get("anyOf", [field]) if option.get("type") != "null")
        parameters.append(parameter(name, "query", schema, examples.get(name), field.get("description", "")))
    return parameters


def operation(name: str, summary: str, responses: dict[str, Schema], *parameters: Schema, **more: Any) -> Schema:
    """Describes the method of a route, without the responses that all routes share."""
    own = parameter("X-Request-ID", "header", TEXT, description="comes back, if it is 1 … 128 visible characters")
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [*parameters, own],
        "responses": responses,
        **more,
    }


def path_item(route: Route) -> Schema:
    """Describes a route: its operation with the errors of every route, and HEAD beside GET."""
    assert route.operation is not None, f"{route.template} has no description"
    common = _COMMON_ERRORS if route.access is Access.PUBLIC else (ErrorCode.UNAUTHORIZED, *_COMMON_ERRORS)
    described = errors(*common, schema="InferenceError" if is_oip(route.template) else "Error")
    responses = described | route.operation["responses"]
    full = route.operation | {"responses": dict(sorted(responses.items()))}
    return {"get": full, "head": _head(full)} if route.method == "GET" else {route.method.lower(): full}


def _head(operation: Schema) -> Schema:
    responses = {
        status: {name: value for name, value in response.items() if name != "content"}
        for status, response in operation["responses"].items()
    }
    return operation | {
        "operationId": f"{operation['operationId']}_head",
        "responses": responses,
        "summary": operation["summary"] + " Headers only.",
    }


MODEL = parameter("model", "path", {"type": "string", "pattern": NAME_PATTERN}, "digits", "name of a model")
