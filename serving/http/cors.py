"""Lets pages of allowed origins send requests and read responses (CORS)."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from serving.http.body import JSON_LENGTH_HEADER
from serving.http.request_record import GENERATION_HEADERS

_SENT = ("Authorization", "Content-Type", "If-None-Match", "X-Request-ID", JSON_LENGTH_HEADER)
_METHOD = "Access-Control-Request-Method"
_HEADERS = "Access-Control-Request-Headers"


class CorsMiddleware(CORSMiddleware):
    """Answers preflights with a reason, and lets the pages of some origins read responses."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        """``origins`` are like ``https://example.com``; ``*`` allows all."""
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=_SENT,
            expose_headers=["ETag", "Retry-After", *GENERATION_HEADERS, "X-Request-ID", JSON_LENGTH_HEADER],
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Returns the response to a preflight; a rejection names the origin, method or header at fault, in JSON."""
        # Join the lines and skip empty elements: Starlette reads the first line only, and rejects an empty name.
        names = [name.strip() for line in request_headers.getlist(_HEADERS) for name in line.split(",") if name.strip()]
        other = [line for line in request_headers.raw if line[0] != _HEADERS.lower().encode()]
        listed = [(_HEADERS.lower().encode(), ", ".join(names).encode("latin-1"))] if names else []
        response = super().preflight_response(Headers(raw=[*other, *listed]))
        if response.status_code == 200:
            return response
        sentence = self._problem(request_headers, names)
        kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return JSONResponse({"error": sentence, "detail": []}, response.status_code, kept)

    def _problem(self, request_headers: Headers, names: list[str]) -> str:
        """Returns the reason of a rejection: the origin, the method, or one of the headers ``names``."""
        if not self.is_allowed_origin(request_headers["origin"]):
            return "Origin: pages of this origin may not ask; FIGMENT_CORS_ORIGINS says whose may."
        if request_headers[_METHOD] not in self.allow_methods:
            allowed = ", ".join(self.allow_methods)
            return f"{_METHOD}: pages of other origins may use {allowed}, not {request_headers[_METHOD][:32]!r}."
        unknown = next((name for name in names if name.lower() not in self.allow_headers), None)
        if unknown is not None:
            return f"{_HEADERS}: pages of other origins may send {', '.join(_SENT)}, not {unknown[:64]!r}."
        return "Access-Control-Request-Private-Network: pages of public networks may not ask."
