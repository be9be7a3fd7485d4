"""The router: exact paths first, then templates; public paths follow from the table."""

import pytest

from serving.http.routing import OTHER, Access, Route, Router
from serving.routes import ROUTES

ROUTER = Router(ROUTES)


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/generate", "/generate"),
        ("/generate/", OTHER),
        ("/generate\n", OTHER),
        ("/models", "/models"),
        ("/models/", OTHER),
        ("/models/digits", "/models/{model}"),
        ("/models/a/b", OTHER),
        ("/images/digits/42.png", "/images/{model}/{seed}.{format}"),
        ("/images/", "/images/{model}/{seed}.{format}"),
        ("/playground/a/b", "/playground/{file}"),
        ("/v2", "/v2"),
        ("/v2/", OTHER),
        ("/v2/models/m", "/v2/models/{model}"),
        ("/v2/models/ready", "/v2/models/{model}"),
        ("/v2/models/m/infer", "/v2/models/{model}/infer"),
        ("/v2/models/m/infer\n", OTHER),
        ("/v2/models/m/versions/1", "/v2/models/{model}/versions/{version}"),
        ("/v2/models/m/versions/1/ready", "/v2/models/{model}/versions/{version}/ready"),
        ("/v2/models//infer", OTHER),
        ("/models/{model}", "/models/{model}"),
        ("/schema.json", OTHER),
    ],
)
def test_label(path, label):
    assert ROUTER.label(path) == label


def test_parameters():
    assert ROUTER.match("/v2/models/m/versions/1/infer")[1] == {"model": "m", "version": "1"}
    assert ROUTER.match("/generate")[1] == {}


def test_bentoml_answers_its_own_paths_only():
    passed_on = {route.template for route in ROUTES if route.handler is None}
    assert passed_on == {"/schema.json", "/docs.json", "/healthz"}


def test_public_paths():
    health = {"/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"}
    assert ROUTER.public_paths(public_metrics=False) == health
    assert ROUTER.public_paths(public_metrics=True) == health | {"/metrics"}


def test_public_routes_have_exact_paths():
    """The authenticator compares whole paths."""
    assert not [route.template for route in ROUTES if route.access is not Access.KEY and "{" in route.template]


def test_each_route_has_its_own_template():
    assert len({route.template for route in ROUTES}) == len(ROUTES)


@pytest.mark.parametrize(("method", "allowed"), [("GET", ("GET", "HEAD")), ("POST", ("POST",))])
def test_allowed_methods(method, allowed):
    assert Route(method=method, template="/", handler=None).allowed_methods == allowed
