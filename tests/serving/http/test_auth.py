"""Keys, and pages of other origins (CORS)."""

import base64
import json

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.datastructures import Headers

from serving.http.cors import CorsMiddleware

KEYS = ("first-key", "second-key")
ORIGIN = "https://gallery.example"


@pytest.fixture(scope="module")
def locked(serve, zoo):
    """The service with keys, one allowed origin, and room for 4 images of 16 × 16."""
    settings = {"api_keys": f"{KEYS[0]}, {KEYS[1]}", "cors_origins": ORIGIN, "max_pixels": 4 * 256}
    with serve(models=zoo, default_model="mlp", max_batch=4, **settings) as server:
        server.wait(lambda answer: answer.status_code == 200)
        with httpx.Client(base_url=server.url, timeout=30) as client:
            yield client


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def basic(credentials):
    return {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


def challenges(answer):
    """Returns the offered schemes, one for each header: a browser reads only the first scheme of a header."""
    return answer.headers.get_list("www-authenticate")


ROUTES = ["/models", "/models/mlp", "/images/mlp/1.png", "/metrics", "/schema.json", "/nothing", "/generate"]


NO_KEYS = [{}, {"Authorization": "first-key"}, {"Authorization": "Basic first-key"}, basic("first-key")]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("headers", NO_KEYS)
def test_a_request_without_a_key_is_rejected(locked, path, headers):
    answer = locked.get(path, headers=headers)
    assert answer.status_code == 401
    assert challenges(answer) == ['Bearer realm="figment"', 'Basic realm="figment", charset="UTF-8"']
    assert answer.json()["error"].startswith("Authorization: this service needs a key")


def test_the_inference_protocol_keeps_its_form(locked):
    answer = locked.get("/v2/models/mlp")
    assert answer.status_code == 401
    assert answer.json().keys() == {"error"}


@pytest.mark.parametrize("key", ["third-key", "first-key2", "first-ke", "FIRST-KEY", "first-key, second-key"])
def test_a_wrong_key_has_its_own_challenge(locked, key):
    answer = locked.get("/models", headers=bearer(key))
    assert answer.status_code == 401
    assert challenges(answer)[0] == 'Bearer realm="figment", error="invalid_token"'
    assert locked.get("/models", headers=basic(f":{key}")).status_code == 401


@pytest.mark.parametrize("key", KEYS)
def test_every_key_opens_every_route(locked, key):
    assert locked.get("/images/mlp/1.png", headers=bearer(key)).status_code == 200
    assert locked.post("/generate", json={"seeds": [1]}, headers=bearer(key)).status_code == 200
    assert locked.get("/metrics", headers={"authorization": f"bearer {key}"}).status_code == 200
    for user in ("", "anybody"):
        assert locked.get("/models", headers=basic(f"{user}:{key}")).status_code == 200


def test_shared_caches_keep_nothing_that_needs_a_key(locked):
    """A CDN would serve its copy to clients without a key."""
    for query, rest in (("", "max-age=60"), ("?version=2", "max-age=31536000, immutable")):
        answer = locked.get(f"/images/mlp/1.png{query}", headers=bearer(KEYS[0]))
        assert answer.headers["cache-control"] == f"private, {rest}"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"])
def test_health_needs_no_key(locked, path):
    assert locked.get(path).status_code == 200


def test_metrics_have_their_own_setting(serve, zoo):
    with serve(models=zoo, default_model="mlp", max_batch=1, api_keys="k", public_metrics=True) as server:
        server.wait(lambda answer: answer.status_code == 200)
        assert httpx.get(f"{server.url}/metrics").status_code == 200
        assert httpx.get(f"{server.url}/models").status_code == 401


def test_a_page_of_an_allowed_origin(locked):
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    preflight = locked.options("/generate", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    answer = locked.post("/generate", json={"seeds": [1]}, headers=bearer(KEYS[0]) | {"Origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    exposed = answer.headers["access-control-expose-headers"]
    assert {"X-Figment-Model", "X-Figment-Version", "X-Figment-Seeds"} <= {*exposed.split(", ")}
    rejected = locked.options("/generate", headers=asked | {"Origin": "https://other.example"})
    assert rejected.status_code == 400
    assert rejected.json().keys() == {"error", "detail"}
    assert "access-control-allow-origin" not in rejected.headers


def test_preflights_are_counted_and_have_an_id(locked):
    def count(code):
        families = text_string_to_metric_families(locked.get("/metrics", headers=bearer(KEYS[0])).text)
        samples = (sample for family in families for sample in family.samples)
        wanted = {"route": "/generate", "code": code}
        return sum(s.value for s in samples if s.name == "figment_requests_total" and s.labels == wanted)

    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    before = count("200"), count("400")
    assert locked.options("/generate", headers=asked | {"X-Request-ID": "mine"}).headers["x-request-id"] == "mine"
    locked.options("/generate", headers=asked | {"Access-Control-Request-Method": "DELETE"})
    assert (count("200"), count("400")) == (before[0] + 1, before[1] + 1)


def test_no_origin_is_allowed_unless_it_is_named(client):
    answer = client.post("/generate", json={"seeds": [1]}, headers={"Origin": ORIGIN})
    assert "access-control-allow-origin" not in answer.headers


def preflight(origins=(ORIGIN,), **asked):
    """Returns the response to a preflight; the keywords are its headers without ``Access-Control-Request-``."""
    lines = [(b"origin", asked.pop("origin", ORIGIN).encode())]
    for name, value in asked.items():
        lines += [(f"access-control-request-{name}".encode(), line.encode()) for line in value.split("; ")]
    return CorsMiddleware(None, origins).preflight_response(Headers(raw=lines))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"origin": "https://other.example", "method": "POST"}, "Origin: pages of this origin may not ask"),
        ({"origin": "null", "method": "DELETE", "headers": "x-a"}, "Origin: pages of this origin may not ask"),
        (
            {"method": "DELETE"},
            "Access-Control-Request-Method: pages of other origins may use GET, HEAD, POST, not 'DELETE'.",
        ),
        (
            {"method": "POST", "headers": "content-type; x-client-version, x-other"},
            "Access-Control-Request-Headers: pages of other origins may send Authorization, Content-Type, "
            "If-None-Match, X-Request-ID, Inference-Header-Content-Length, not 'x-client-version'.",
        ),
        ({"method": "POST", "private-network": "true"}, "Access-Control-Request-Private-Network: "),
    ],
)
@pytest.mark.parametrize("origins", [(ORIGIN,), ("*",)])
def test_a_rejected_preflight_has_its_reason(origins, asked, says):
    """The error named the origin, even if it was allowed and something else was wrong."""
    answer = preflight(origins, **asked)
    if origins == ("*",) and "origin" in asked:
        assert answer.status_code == (200 if asked["method"] == "POST" else 400)
        assert b"this origin" not in answer.body
        return
    assert answer.status_code == 400
    assert json.loads(answer.body)["error"].startswith(says)
    assert answer.headers.get("access-control-allow-origin") == (None if "origin" in asked else origins[0])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("", 200),
        ("content-type,authorization", 200),
        ("Content-Type, , If-None-Match,", 200),
        ("content-type; x-request-id", 200),  # in two lines
        ("content-type; x-other", 400),
        ("x-other; content-type", 400),
    ],
)
def test_allowed_headers(headers, status):
    assert preflight(method="POST", headers=headers).status_code == status
