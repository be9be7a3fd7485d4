"""What pydantic says of a value that does not fit, as one error of the API."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from serving.errors import ApiError, ErrorCode


def error_from_validation(error: ValidationError) -> ApiError:
    """The refusal of what did not validate: its first fault as a sentence, all of them in detail."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    detail = [{"loc": list(fault["loc"]), "msg": _problem(fault)} for fault in faults[:20]]
    where = ".".join(map(str, detail[0]["loc"][:3])) or "body"
    return ApiError(ErrorCode.INVALID, f"{where[:100]}: {detail[0]['msg']}.", detail=detail)


def _problem(fault: ErrorDetails) -> str:
    # Pydantic's sentence for these names a class of this program.
    return "a JSON object is needed" if fault["type"] == "model_type" else fault["msg"]
