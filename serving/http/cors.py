"""What pages of other origins may ask and read (CORS)."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from serving.http.headers import GENERATION_HEADERS, HEADER_LENGTH

_SENT = ("Authorization", "Content-Type", "If-None-Match", "X-Request-ID", HEADER_LENGTH)
_METHOD = "Access-Control-Request-Method"
_HEADERS = "Access-Control-Request-Headers"


class CorsMiddleware(CORSMiddleware):
    """Answers browsers' questions before a request, and lets the pages of some origins read what comes of it."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        """``origins`` are like ``https://example.com``; ``*`` is all."""
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=_SENT,
            expose_headers=["ETag", "Retry-After", *GENERATION_HEADERS, "X-Request-ID", HEADER_LENGTH],
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Returns the answer to a preflight; a refusal is JSON, and names the origin, method or header at fault."""
        # Starlette reads only the first line of a list, and takes an empty element for a header.
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
        """Returns a sentence that names what is refused: the origin, the method, or one of these headers."""
        if not self.is_allowed_origin(request_headers["origin"]):
            return "Origin: pages of this origin may not ask; FIGMENT_CORS_ORIGINS says whose may."
        if request_headers[_METHOD] not in self.allow_methods:
            allowed = ", ".join(self.allow_methods)
            return f"{_METHOD}: pages of other origins may use {allowed}, not {request_headers[_METHOD][:32]!r}."
        unknown = next((name for name in names if name.lower() not in self.allow_headers), None)
        if unknown is not None:
            return f"{_HEADERS}: pages of other origins may send {', '.join(_SENT)}, not {unknown[:64]!r}."
        return "Access-Control-Request-Private-Network: pages of public networks may not ask."
