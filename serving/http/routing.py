"""Routes as records, and the search for the route of a path."""

import enum
import functools
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Receive

Handler = Callable[[Any, Request, Receive], Awaitable[Response]]
"""Answers a request with the help of the runtime, its first parameter."""

OTHER = "other"
"""The label of all paths without a route, so that clients cannot add time series or span names."""


class Access(enum.Enum):
    """Who may use a route if the operator has set keys."""

    KEY = enum.auto()
    """Clients with a key."""

    METRICS = enum.auto()
    """Clients with a key; everybody, if FIGMENT_PUBLIC_METRICS says so."""

    PUBLIC = enum.auto()
    """Everybody: programs that start and watch containers have no key."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """One route: its method and path template, who answers it, who may use it, and its OpenAPI operation."""

    method: str
    template: str
    handler: Handler | None
    """``None`` passes the request to BentoML, with any method."""

    operation: dict[str, Any] | None = None
    access: Access = Access.KEY
    matches: str | None = None
    """A wider template to match, for a handler that explains what is wrong with a path near its own."""

    # Cached: computing the two takes 1 % of the time of a small image.
    @functools.cached_property
    def label(self) -> str:
        """The route's name in metrics and spans."""
        return OTHER if self.handler is None else self.template

    @functools.cached_property
    def allowed_methods(self) -> tuple[str, ...]:
        """The methods that the route answers."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)


class Router:
    """Finds routes: exact paths by one look-up, then templates in the order of the table."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, Route] = {}
        self._templates: list[tuple[re.Pattern[str], Route]] = []
        for route in routes:
            path = route.matches or route.template
            if "{" in path:
                self._templates.append((compile_path(path)[0], route))
            else:
                self._exact[path] = route

    def match(self, path: str) -> tuple[Route | None, dict[str, str]]:
        """Returns a path's route and the parameters in the path; no route for an unknown path."""
        route = self._exact.get(path)
        if route is not None:
            return route, {}
        for pattern, route in self._templates:
            # `fullmatch`, since the pattern's `$` also matches before a line break at the end.
            if found := pattern.fullmatch(path):
                return route, found.groupdict()
        return None, {}

    def label(self, path: str) -> str:
        """Returns the name of a path's route in metrics and spans."""
        route, _ = self.match(path)
        return OTHER if route is None else route.label

    def public_paths(self, *, public_metrics: bool) -> frozenset[str]:
        """Returns the paths that need no key."""
        public = {Access.PUBLIC, Access.METRICS} if public_metrics else {Access.PUBLIC}
        return frozenset(path for path, route in self._exact.items() if route.access in public)
