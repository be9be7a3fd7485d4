"""What pages of other origins may ask and read (CORS)."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from serving.oip_messages import HEADER_LENGTH
from serving.openapi_parts import MADE


class CrossOrigin(CORSMiddleware):
    """Answers browsers' questions before a request, and lets the pages of some origins read what comes of it."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        """``origins`` are like ``https://example.com``; ``*`` is all."""
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match", "X-Request-ID", HEADER_LENGTH],
            expose_headers=["ETag", "Retry-After", *MADE, "X-Request-ID", HEADER_LENGTH],
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a question; a no is in JSON, as all errors are."""
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        sentence = "Origin: pages of this origin may not ask this; FIGMENT_CORS_ORIGINS says whose may."
        kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return JSONResponse({"error": sentence, "detail": []}, response.status_code, kept)
