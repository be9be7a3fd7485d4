"""``GET /docs``: the API reference as a page, which reads ``/openapi.json``."""

import base64
import functools
import hashlib
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from serving.http.responses import CachedContent
from serving.runtime import Runtime

_PAGE = Path(__file__).with_name("docs_page.html")


async def show_docs(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /docs``: the page."""
    return _page().response(request)


@functools.cache
def _page() -> CachedContent:
    """Reads the page. Its policy lets only its own style and script run, and only this service be asked."""
    text = _PAGE.read_text(encoding="utf-8")
    script, style = (_hashes(text, tag) for tag in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src 'self' blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    # Revalidated each time: a new release may change the page.
    return CachedContent(text.encode(), "text/html", {"Content-Security-Policy": policy, "Cache-Control": "no-cache"})


def _hashes(text: str, tag: str) -> str:
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in found)
