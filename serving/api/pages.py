"""The playground's files: read once, and answered under a policy that lets nothing in from other hosts."""

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from serving.api.image_address import matches
from serving.errors import ApiError, ErrorCode
from serving.runtime import Runtime

INDEX = "/"
TEMPLATE = "/playground/{file}"

_FOLDER = Path(__file__).parents[1] / "playground"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

# `data:` and `blob:` are for images that come as JSON: those of a walk between two seeds.
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class _Page:
    """One file, ready to be sent."""

    def __init__(self, path: Path) -> None:
        self.body = path.read_bytes()
        self.media_type = MEDIA_TYPES[path.suffix]
        self.etag = f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'
        self.headers = {
            "ETag": self.etag,
            # Short, since the files' addresses do not change with a new release.
            "Cache-Control": "public, max-age=60",
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }


# By name, so that no request's path ever reaches the file system.
_PAGES = {path.name: _Page(path) for path in sorted(_FOLDER.iterdir()) if path.suffix in MEDIA_TYPES}


async def show_page(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /`` and ``GET /playground/{file}``: the playground."""
    path = request.scope["path"]
    page = _PAGES.get("index.html" if path == INDEX else path.removeprefix("/playground/"))
    if page is None:
        raise ApiError(ErrorCode.NOT_FOUND, "The playground has no such file.")
    if matches(page.etag, request.headers.get("if-none-match")):
        return Response(status_code=304, headers=page.headers)
    return Response(page.body, headers=page.headers, media_type=page.media_type)
