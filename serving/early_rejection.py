"""Rejects a request at its connection if a full queue has no room for it.

Load beyond the service's capacity takes time from the cores that serve the rest. An early rejection runs the same
checks in the same order, but spares the task and the ASGI messages of a request.
"""

from starlette.responses import Response

from serving.api.generation import ensure_capacity
from serving.errors import ApiError, ErrorCode
from serving.generation import SMALL_BODY_BYTES
from serving.http.auth import Authenticator
from serving.http.body import check_is_json
from serving.http.request_record import RequestRecord
from serving.http.responses import IndexedRequest, error_response
from serving.runtime import Runtime

EARLY_REJECTED_ROUTE = "/generate"
EARLY_REJECTED = EARLY_REJECTED_ROUTE.encode()
"""The address whose requests may be rejected early."""


def reject_early(
    runtime: Runtime,
    authenticator: Authenticator,
    record: RequestRecord,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
) -> Response | None:
    """Returns the rejection of a request that finds a full queue; ``None`` for any other, which goes the usual way."""
    request = IndexedRequest(
        {
            "type": "http",
            "path": EARLY_REJECTED_ROUTE,
            "raw_path": EARLY_REJECTED,
            "query_string": b"",
            "headers": headers,
        }
    )
    # A long body is not parsed on the event loop. A page of another origin needs CORS headers.
    if len(body) > SMALL_BODY_BYTES or "origin" in request.headers:
        return None
    try:
        authenticator.check(request.scope)
        check_is_json(request)
        ensure_capacity(runtime, record, body, request.headers.get("accept"))
    except ApiError as error:
        if error.code is ErrorCode.QUEUE_FULL:
            record.fail(error.code)
            return error_response(error, EARLY_REJECTED_ROUTE)
    return None
