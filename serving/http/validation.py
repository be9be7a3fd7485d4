"""Turns pydantic's validation errors into errors of the API."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from serving.errors import ApiError, ErrorCode


def error_from_validation(error: ValidationError) -> ApiError:
    """Returns an error with the first fault as its sentence and the first 20 as its detail."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    detail = [{"loc": list(fault["loc"]), "msg": _problem(fault)} for fault in faults[:20]]
    where = ".".join(map(str, detail[0]["loc"][:3])) or "body"
    return ApiError(ErrorCode.INVALID, f"{where[:100]}: {detail[0]['msg']}.", detail=detail)


def _problem(fault: ErrorDetails) -> str:
    # Pydantic's own sentence names a Python class.
    return "a JSON object is needed" if fault["type"] == "model_type" else fault["msg"]
