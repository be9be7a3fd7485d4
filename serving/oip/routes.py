"""The table of the Open Inference Protocol's routes. A route is one row: method, path, handler and description."""

from serving.errors import OIP_ROOT, ErrorCode
from serving.http.body import JSON_LENGTH_HEADER
from serving.http.openapi import (
    BINARY,
    GENERATION_ERRORS,
    MODEL,
    TEXT,
    Schema,
    json_body,
    json_response,
    list_of,
    object_of,
    oip_errors,
    operation,
    parameter,
    ref,
    response,
    schemas_of,
)
from serving.http.request_record import GENERATION_HEADERS
from serving.http.routing import Access, Route
from serving.oip import endpoints
from serving.oip.messages import OUTPUT, InferMessage

_SEED = {"name": "seed", "datatype": "UINT32", "shape": [2], "data": [42, 43]}
_LABEL = {"name": "label", "datatype": "INT64", "shape": [2], "data": [7, 7]}
_EXAMPLES: dict[str, Schema] = {
    "json": {"id": "mine", "inputs": [_SEED, _LABEL]},
    "binary answer": {"inputs": [_SEED], "parameters": {"binary_data_output": True}},
}


def schemas() -> dict[str, Schema]:
    """Returns the named schemas: requests from the models that validate them, responses as they are written."""
    number = {"type": "integer"}
    tensor = object_of(name=TEXT, datatype=TEXT, shape=list_of(number))
    output = object_of(
        # One of the two: pixels in JSON, or in the bytes behind it.
        {
            "data": list_of({"type": "integer", "minimum": 0, "maximum": 255}),
            "parameters": object_of(binary_data_size=number),
        },
        name={"const": OUTPUT},
        datatype={"const": "UINT8"},
        shape=list_of(number),
    )
    return schemas_of(InferMessage) | {
        "InferenceError": object_of(error={"type": "string", "description": "one sentence"}),
        "ServerMetadata": object_of(name=TEXT, version=TEXT, extensions=list_of(TEXT)),
        "ServerLive": object_of(live={"const": True}),
        "ServerReady": object_of(ready={"const": True}),
        "ModelMetadata": object_of(
            name=TEXT, versions=list_of(TEXT), platform=TEXT, inputs=list_of(tensor), outputs=list_of(tensor)
        ),
        "ModelReady": object_of(name=TEXT, ready={"const": True}),
        "Inferred": object_of(
            {"id": TEXT | {"description": "the request's, if it had one"}},
            model_name=TEXT,
            model_version=TEXT,
            outputs=list_of(output),
        ),
    }


def _show(name: str, summary: str, schema: str, *codes: ErrorCode, parameters: tuple[Schema, ...] = ()) -> Schema:
    return operation(name, summary, oip_errors(*codes) | {"200": json_response(summary, schema)}, *parameters)


def _infer(name: str, parameters: tuple[Schema, ...]) -> Schema:
    length = parameter(
        JSON_LENGTH_HEADER,
        "header",
        {"type": "integer", "minimum": 1},
        description="the length of the JSON in bytes, if binary tensors follow it",
    )
    body = json_body(InferMessage.__name__, _EXAMPLES)
    body["content"][endpoints.BINARY_TYPE] = {"schema": BINARY}
    content = {"application/json": ref("Inferred"), endpoints.BINARY_TYPE: BINARY}
    return operation(
        name,
        "Images as a tensor: in JSON, or in binary behind the JSON if the request asks for that.",
        oip_errors(ErrorCode.NOT_JSON, ErrorCode.UNSUPPORTED_MEDIA_TYPE, *GENERATION_ERRORS)
        | {"200": response("The images.", content, *GENERATION_HEADERS, JSON_LENGTH_HEADER)},
        *parameters,
        length,
        requestBody=body,
    )


def _model_routes(path: str, suffix: str, parameters: tuple[Schema, ...]) -> tuple[Route, ...]:
    """The routes of a model, or of one of its versions; ``suffix`` tells their operation ids apart."""
    of_model = (ErrorCode.NOT_FOUND, ErrorCode.UNAVAILABLE)
    return (
        Route(
            method="GET",
            template=path,
            handler=endpoints.show_model,
            operation=_show(
                f"v2_model{suffix}", "A model's tensors.", "ModelMetadata", *of_model, parameters=parameters
            ),
        ),
        Route(
            method="GET",
            template=f"{path}/ready",
            handler=endpoints.show_model_ready,
            operation=_show(
                f"v2_model{suffix}_ready", "Whether it is ready.", "ModelReady", *of_model, parameters=parameters
            ),
        ),
        Route(
            method="POST",
            template=f"{path}/infer",
            handler=endpoints.infer,
            operation=_infer(f"v2_infer{suffix}", parameters),
        ),
    )


_VERSION = parameter(
    "version", "path", {"type": "string", "pattern": f"^{endpoints.VERSION_PATTERN}$"}, "3", "of the model"
)

ROUTES = (
    Route(
        method="GET",
        template=OIP_ROOT,
        handler=endpoints.show_server,
        operation=_show("v2", "The server's name, version and extensions.", "ServerMetadata"),
    ),
    Route(
        method="GET",
        template=f"{OIP_ROOT}/health/live",
        handler=endpoints.show_live,
        access=Access.PUBLIC,
        operation=_show(
            "v2_live",
            "Whether the event loop and the devices' threads run.",
            "ServerLive",
        ),
    ),
    Route(
        method="GET",
        template=f"{OIP_ROOT}/health/ready",
        handler=endpoints.show_ready,
        access=Access.PUBLIC,
        operation=_show(
            "v2_ready", "Whether the service takes requests for images.", "ServerReady", ErrorCode.UNAVAILABLE
        ),
    ),
    *_model_routes(f"{OIP_ROOT}/models/{{model}}", "", (MODEL,)),
    *_model_routes(f"{OIP_ROOT}/models/{{model}}/versions/{{version}}", "_version", (MODEL, _VERSION)),
)
