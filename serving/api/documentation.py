"""``GET /openapi.json`` and ``GET /docs``: what the service says of itself, for programs and for people."""

import base64
import functools
import hashlib
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from serving.api.image_address import matches
from serving.api.openapi import serialized, tagged
from serving.runtime import Runtime

_PAGE = Path(__file__).with_name("docs_page.html")


async def show_openapi(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /openapi.json``: the description for programs."""
    return _kept(request, *serialized(), {}, "application/json")


async def show_docs(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /docs``: the page that shows it."""
    content, etag, policy = _page()
    return _kept(request, content, etag, {"Content-Security-Policy": policy}, "text/html")


def _kept(request: Request, content: bytes, etag: str, headers: dict[str, str], media_type: str) -> Response:
    # Asked for again each time, and then answered with 304: a new release may describe another interface.
    headers = headers | {"ETag": etag, "Cache-Control": "no-cache"}
    if matches(etag, request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=media_type)


@functools.cache
def _page() -> tuple[bytes, str, str]:
    """The page, its ETag and its policy: only its own style and script run, and it asks only this service."""
    text = _PAGE.read_text(encoding="utf-8")
    script, style = (_hashes(text, tag) for tag in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src 'self' blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return *tagged(text.encode()), policy


def _hashes(text: str, tag: str) -> str:
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in found)
