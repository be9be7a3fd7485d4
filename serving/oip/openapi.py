"""The OpenAPI description of the Open Inference Protocol's routes, below ``/v2``."""

from serving.errors import OIP_ROOT, ErrorCode
from serving.http.headers import GENERATION_HEADERS, HEADER_LENGTH
from serving.http.openapi_parts import (
    BINARY,
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
    ref,
    refused,
    schemas_of,
)
from serving.oip import endpoints as oip
from serving.oip.messages import OUTPUT, InferMessage
from serving.oip.paths import VERSION_PATTERN, model_templates

_ERROR = "InferenceError"

_VERSION = parameter("version", "path", {"type": "string", "pattern": f"^{VERSION_PATTERN}$"}, "3", "of the model")

_SEED = {"name": "seed", "datatype": "UINT32", "shape": [2], "data": [42, 43]}
_LABEL = {"name": "label", "datatype": "INT64", "shape": [2], "data": [7, 7]}
_EXAMPLES: dict[str, Schema] = {
    "json": {"id": "mine", "inputs": [_SEED, _LABEL]},
    "binary answer": {"inputs": [_SEED], "parameters": {"binary_data_output": True}},
}


def schemas() -> dict[str, Schema]:
    """The schemas with names: of requests from the models that validate them, of answers as they are written."""
    number = {"type": "integer"}
    tensor = object_of(name=TEXT, datatype=TEXT, shape=list_of(number))
    output = object_of(name={"const": OUTPUT}, datatype={"const": "UINT8"}, shape=list_of(number))
    # Either of the two: in JSON, or in the bytes behind it.
    output["properties"] |= {
        "data": list_of({"type": "integer", "minimum": 0, "maximum": 255}),
        "parameters": object_of(binary_data_size=number),
    }
    inferred = object_of(model_name=TEXT, model_version=TEXT, outputs=list_of(output))
    inferred["properties"]["id"] = TEXT | {"description": "the request's, if it had one"}
    return schemas_of(InferMessage) | {
        _ERROR: object_of(error={"type": "string", "description": "one sentence"}),
        "ServerMetadata": object_of(name=TEXT, version=TEXT, extensions=list_of(TEXT)),
        "ServerLive": object_of(live={"const": True}),
        "ServerReady": object_of(ready={"const": True}),
        "ModelMetadata": object_of(
            name=TEXT, versions=list_of(TEXT), platform=TEXT, inputs=list_of(tensor), outputs=list_of(tensor)
        ),
        "ModelReady": object_of(name=TEXT, ready={"const": True}),
        "Inferred": inferred,
    }


def paths() -> Schema:
    """Every route of the protocol."""
    described = {
        OIP_ROOT: _told("v2", "What this server is and can do.", "ServerMetadata"),
        f"{OIP_ROOT}/health/live": _told("v2_live", "Whether the process answers.", "ServerLive", needs_key=False),
        f"{OIP_ROOT}/health/ready": _told(
            "v2_ready", "Whether images can be asked for.", "ServerReady", ErrorCode.UNAVAILABLE, needs_key=False
        ),
    }
    of_model = (ErrorCode.NOT_FOUND, ErrorCode.UNAVAILABLE)
    for number, parameters in enumerate(([MODEL], [MODEL, _VERSION])):
        end = "_version" * number
        plain, ready, infer = (model_templates(action)[number] for action in ("", "ready", "infer"))
        described |= {
            plain: _told(f"v2_model{end}", "A model's tensors.", "ModelMetadata", *of_model, parameters=parameters),
            ready: _told(
                f"v2_model{end}_ready", "Whether it is ready.", "ModelReady", *of_model, parameters=parameters
            ),
            infer: {"post": _infer(f"v2_infer{end}", parameters)},
        }
    return described


def _told(
    name: str,
    summary: str,
    schema: str,
    *refusals: ErrorCode,
    needs_key: bool = True,
    parameters: list[Schema] | None = None,
) -> Schema:
    responses = {"200": json_answer(summary, schema), **refused(*refusals, needs_key=needs_key, error=_ERROR)}
    return gettable(operation(name, summary, responses, *(parameters or ())))


def _infer(name: str, parameters: list[Schema]) -> Schema:
    length = parameter(
        HEADER_LENGTH,
        "header",
        {"type": "integer", "minimum": 1},
        description="the bytes of the JSON, if tensors follow",
    )
    body = json_body(InferMessage.__name__, _EXAMPLES)
    body["content"][oip.BINARY_TYPE] = {"schema": BINARY}
    forms = {"application/json": ref("Inferred"), oip.BINARY_TYPE: BINARY}
    refusals = (ErrorCode.NOT_JSON, ErrorCode.UNSUPPORTED_MEDIA_TYPE, *MAKING)
    return operation(
        name,
        "Images as a tensor, in JSON or, if that is asked for, in binary behind it.",
        {"200": answer("The images.", forms, *GENERATION_HEADERS, HEADER_LENGTH), **refused(*refusals, error=_ERROR)},
        *parameters,
        length,
        requestBody=body,
    )
