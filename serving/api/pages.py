"""Serves the playground's files, read once, under a policy that allows nothing from other hosts."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from serving.errors import ApiError, ErrorCode
from serving.http.responses import CachedContent
from serving.runtime import Runtime

INDEX = "/"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

_FOLDER = Path(__file__).parents[1] / "playground"
_HEADERS = {
    # A minute only: the files keep their addresses in a new release.
    "Cache-Control": "public, max-age=60",
    # `data:` and `blob:` are for the images of a walk, which arrive as JSON.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

# By name, so that a request's path never reaches the file system.
_PAGES = {
    path.name: CachedContent(path.read_bytes(), MEDIA_TYPES[path.suffix], _HEADERS)
    for path in sorted(_FOLDER.iterdir())
    if path.suffix in MEDIA_TYPES
}


async def show_page(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /`` and ``GET /playground/{file}``: the playground."""
    page = _PAGES.get(request.scope["path_params"].get("file", "index.html"))
    if page is None:
        raise ApiError(ErrorCode.NOT_FOUND, "The playground has no such file.")
    return page.response(request)
