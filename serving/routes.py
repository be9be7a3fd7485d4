"""The table of all routes, and the OpenAPI document that follows from it."""

import functools
import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from models.bundle import Card
from serving.api import endpoints
from serving.api import routes as api
from serving.config.settings import Settings
from serving.http.body import JSON_LENGTH_HEADER
from serving.http.openapi import HEADERS, TEXT, Schema, operation, parameter, path_item, schemas_of
from serving.http.responses import CachedContent
from serving.http.routing import Access, Route, Router
from serving.oip import routes as oip
from serving.runtime import Runtime


async def show_openapi(runtime: Runtime, request: Request, receive: Receive) -> Response:
    """``GET /openapi.json``: the description for programs."""
    return _serialized_document().response(request)


ROUTES: tuple[Route, ...] = (
    *api.ROUTES,
    Route(
        method="GET",
        template="/openapi.json",
        handler=show_openapi,
        operation=operation(
            "openapi",
            "This description.",
            api.cached("The description.", {"application/json": {"type": "object"}}),
            parameter("If-None-Match", "header", TEXT),
        ),
    ),
    *oip.ROUTES,
    # BentoML's clients and tools ask for these. Its index page is left out: that page loads scripts from other hosts.
    Route(method="GET", template="/schema.json", handler=None),
    Route(method="GET", template="/docs.json", handler=None),
    Route(method="GET", template="/healthz", handler=None, access=Access.PUBLIC),
)


def routes_for(settings: Settings) -> tuple[Route, ...]:
    """Returns the table, and the two routes that a managed platform asks for.

    A path that the table has already keeps its meaning: Vertex AI may be told to use ``/readyz`` or ``/v2``.
    """
    platform = []
    if settings.health_route is not None:
        platform.append(
            Route(method="GET", template=settings.health_route, handler=endpoints.show_ready, access=Access.PUBLIC)
        )
    if settings.predict_route is not None:
        platform.append(Route(method="POST", template=settings.predict_route, handler=endpoints.predict_images))
    table = Router(ROUTES)
    return (*ROUTES, *(route for route in platform if table.match(route.template)[0] is None))


@functools.cache
def document() -> Schema:
    """Returns the OpenAPI 3.1 document of all routes that Figment answers."""
    headers = {
        # Every header is on all responses of its route, except the JSON's length: only binary tensors need it.
        name: {"description": description, "required": name != JSON_LENGTH_HEADER, "schema": schema}
        for name, (description, schema) in HEADERS.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Figment", "version": "1", "description": "Images from tuned GAN generators."},
        # Relative to this document's address, so that it is valid behind any proxy's path prefix.
        "servers": [{"url": "."}],
        "paths": {route.template: path_item(route) for route in ROUTES if route.handler is not None},
        "components": {
            "schemas": api.schemas() | schemas_of(Card, "serialization") | oip.schemas(),
            "headers": headers,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic", "description": "any name; the key is the password"},
            },
        },
        # A key is needed only if the operator has set some.
        "security": [{}, {"key": []}, {"password": []}],
    }


@functools.cache
def _serialized_document() -> CachedContent:
    content = json.dumps(document(), ensure_ascii=False, separators=(",", ":")).encode()
    return CachedContent(content, "application/json", {"Cache-Control": "no-cache"})
