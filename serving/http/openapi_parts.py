"""What descriptions of routes are made of: answers, refusals, headers and parameters, in the words of OpenAPI 3.1."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from models.bundle import NAME_PATTERN
from serving.errors import STATUS, ErrorCode
from serving.http.headers import HEADER_LENGTH

Schema = dict[str, Any]

REF = "#/components/schemas/"
TEXT: Schema = {"type": "string"}
BINARY: Schema = {}

_REFUSED: dict[ErrorCode, str] = {
    ErrorCode.NOT_HTTP: "What was sent is not HTTP/1.1.",
    ErrorCode.NOT_JSON: "The body is not JSON, or what was sent is not HTTP/1.1.",
    ErrorCode.UNAUTHORIZED: "A key is needed, or the one given is not known.",
    ErrorCode.NOT_FOUND: "There is no such model, version or address.",
    ErrorCode.METHOD_NOT_ALLOWED: "This path answers other methods: see Allow.",
    ErrorCode.NOT_ACCEPTABLE: "This request has no answer that Accept allows.",
    ErrorCode.TOO_SLOW: "The request did not arrive in time.",
    ErrorCode.TOO_LARGE: "The body, the number of images or their pixels are over the limit.",
    ErrorCode.ADDRESS_TOO_LONG: "The address is over its limit.",
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: "The body is of another media type, or it is compressed.",
    ErrorCode.INVALID: "A field does not fit, in itself or the model; detail names each.",
    ErrorCode.HEADERS_TOO_LARGE: "The headers are over their limit.",
    ErrorCode.QUEUE_FULL: "The queue is full.",
    ErrorCode.BROKEN: "The service failed; its log says why.",
    ErrorCode.UNAVAILABLE: "Not ready yet, or shutting down.",
    ErrorCode.DEADLINE: "The deadline passed before the images were made.",
}
# What any request can end in.
_ALWAYS = (
    ErrorCode.NOT_HTTP,
    ErrorCode.METHOD_NOT_ALLOWED,
    ErrorCode.TOO_SLOW,
    ErrorCode.ADDRESS_TOO_LONG,
    ErrorCode.HEADERS_TOO_LARGE,
    ErrorCode.BROKEN,
)
_WITH_HEADER = {
    ErrorCode.UNAUTHORIZED: "WWW-Authenticate",
    ErrorCode.METHOD_NOT_ALLOWED: "Allow",
    ErrorCode.QUEUE_FULL: "Retry-After",
    ErrorCode.UNAVAILABLE: "Retry-After",
}
# What the making of images can end in, whatever route asks for them.
MAKING = (
    ErrorCode.NOT_FOUND,
    ErrorCode.TOO_LARGE,
    ErrorCode.INVALID,
    ErrorCode.QUEUE_FULL,
    ErrorCode.UNAVAILABLE,
    ErrorCode.DEADLINE,
)

HEADERS: dict[str, tuple[str, Schema]] = {
    "X-Request-ID": ("The request's own, if it had a usable one.", {"type": "string", "pattern": "^[!-~]{1,128}$"}),
    "X-Figment-Model": ("The generator that made the images.", {"type": "string", "pattern": NAME_PATTERN}),
    "X-Figment-Version": ("Its version.", {"type": "integer", "minimum": 1}),
    "X-Figment-Seeds": (
        "The images' seeds; empty for given noise.",
        {"type": "string", "pattern": "^([0-9]+(,[0-9]+)*)?$"},
    ),
    "Server-Timing": ("Milliseconds in queue, inference and encode.", TEXT),
    "ETag": ("Of the very bytes of this answer.", {"type": "string", "pattern": '^".+"$'}),
    "Cache-Control": ("How long the answer may be kept, and by whom.", TEXT),
    "Retry-After": ("Seconds after which to ask again.", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": ("The kinds of key: Bearer, or Basic with the key as password.", TEXT),
    "Allow": ("The methods that this path answers.", TEXT),
    "Vary": ("The request headers that the answer depends on.", TEXT),
    HEADER_LENGTH: ("Where JSON and binary tensors follow each other: the bytes of the JSON.", {"type": "integer"}),
    "Content-Security-Policy": ("What the page may load: nothing from other hosts.", TEXT),
}


def object_of(optional: dict[str, Schema] | None = None, /, **properties: Schema) -> Schema:
    """An object that has all of these fields, and may have the ``optional`` ones."""
    return {"type": "object", "properties": properties | (optional or {}), "required": list(properties)}


def list_of(items: Schema) -> Schema:
    """A list of so many of these as there are."""
    return {"type": "array", "items": items}


def ref(name: str) -> Schema:
    """One of the schemas with a name."""
    return {"$ref": REF + name}


def schemas_of(model: type[BaseModel], mode: JsonSchemaMode = "validation") -> dict[str, Schema]:
    """A pydantic model's schema, and those of the models in it, by their names."""
    schema = model.model_json_schema(ref_template=REF + "{model}", mode=mode)
    return {**schema.pop("$defs", {}), model.__name__: schema}


def answer(description: str, content: dict[str, Schema], *headers: str) -> Schema:
    """A response: its media types with their schemas, and its headers beside X-Request-ID."""
    return {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *headers)},
    } | ({"content": {media_type: {"schema": schema} for media_type, schema in content.items()}} if content else {})


def json_answer(description: str, name: str, *headers: str) -> Schema:
    """A response in JSON, of the schema with this name."""
    return answer(description, {"application/json": ref(name)}, *headers)


def refused(*refusals: ErrorCode, needs_key: bool = True, error: str = "Error") -> dict[str, Schema]:
    """Responses by status: to these refusals and to all that any request can meet with."""
    keys = (ErrorCode.UNAUTHORIZED,) if needs_key else ()
    return {
        str(STATUS[refusal]): json_answer(_REFUSED[refusal], error, *filter(None, [_WITH_HEADER.get(refusal)]))
        for refusal in sorted({*refusals, *keys, *_ALWAYS}, key=lambda refusal: refusal.value)
    }


def json_body(name: str, examples: dict[str, Schema]) -> Schema:
    """A request's body in JSON, of the schema with this name."""
    shown = {example: {"value": value} for example, value in examples.items()}
    return {"required": True, "content": {"application/json": {"schema": ref(name), "examples": shown}}}


def parameter(name: str, where: str, schema: Schema, example: Any = None, description: str = "") -> Schema:
    """A parameter in the path, the query or a header; those of the path are needed."""
    shown = ({} if example is None else {"example": example}) | ({"description": description} if description else {})
    return {"name": name, "in": where, "required": where == "path", "schema": schema} | shown


def query_of(model: type[BaseModel], **examples: Any) -> list[Schema]:
    """A model's fields as parameters. A URL has no null: a field that may be none may be left out."""
    parameters = []
    for name, field in model.model_json_schema()["properties"].items():
        schema = next(option for option in field.get("anyOf", [field]) if option.get("type") != "null")
        parameters.append(parameter(name, "query", schema, examples.get(name), field.get("description", "")))
    return parameters


def operation(name: str, summary: str, responses: dict[str, Schema], *parameters: Schema, **more: Any) -> Schema:
    """What one method does at a path."""
    own = parameter("X-Request-ID", "header", TEXT, description="comes back, if it is 1 … 128 visible characters")
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [*parameters, own],
        "responses": dict(sorted(responses.items())),
        **more,
    }


def gettable(operation: Schema) -> Schema:
    """A path that answers GET, and HEAD with the same headers and no body."""
    responses = {
        status: {name: value for name, value in answer.items() if name != "content"}
        for status, answer in operation["responses"].items()
    }
    head = operation | {"operationId": f"{operation['operationId']}_head", "responses": responses}
    return {"get": operation, "head": head | {"summary": operation["summary"] + " Headers only."}}


MODEL = parameter("model", "path", {"type": "string", "pattern": NAME_PATTERN}, "digits", "name of a model")
