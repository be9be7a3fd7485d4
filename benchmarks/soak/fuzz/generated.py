"""Requests made by Hypothesis for every route: any method, query, headers and body. It shrinks the ones that fail."""

import asyncio
import json
import string

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st

from benchmarks.soak.fuzz.attempt import Attempt, Expected, Ids, Then
from benchmarks.soak.fuzz.known import PREDICT
from benchmarks.soak.fuzz.noise import NO_SERVER_ERROR
from benchmarks.soak.fuzz.play import judge, play
from models.noise import MAX_SEED
from serving.routes import ROUTES

_FIRST_NUMBER = 90_000_000

_METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "QUERY", "PROPFIND"])
_NAMES = st.sampled_from(["tiny", "g32", "none", "", "..", "%00", "tiny%2f1"])
_SEEDS = st.integers(-1, MAX_SEED + 1) | st.integers(0, 99)

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_COMMON = {
    "model": _NAMES | _JSON,
    "version": st.integers(0, 2) | _JSON,
    "truncation": st.floats(-0.1, 1.1) | _JSON,
    "quality": st.integers(0, 101) | _JSON,
    "format": st.sampled_from(["png", "jpeg", "webp", "gif", "npy", "exe"]) | _JSON,
    "labels": st.integers(-1, 3) | _JSON,
    "background": st.sampled_from(["white", "#12345", "#123456"]) | _JSON,
    "x": _JSON,
}
_END = st.fixed_dictionaries({}, optional={"seed": _SEEDS | _JSON, "noise": st.lists(st.floats(), max_size=3)}) | _JSON
_GENERATE = st.fixed_dictionaries(
    {"seeds": st.lists(_SEEDS, max_size=4) | st.sampled_from(["0-3", "3-0", "0-99999999", "1,2,"]) | _JSON},
    optional={**_COMMON, "layout": st.sampled_from(["list", "grid", "heap"]), "count": st.integers(-1, 70) | _JSON},
)
_INTERPOLATE = st.fixed_dictionaries(
    {"from": _END, "to": _END},
    optional={**_COMMON, "steps": st.integers(0, 70) | _JSON, "layout": st.sampled_from(["list", "grid", "animation"])},
)
_TENSOR = st.fixed_dictionaries(
    {"name": st.sampled_from(["seed", "noise", "truncation", "label"]) | st.text(max_size=3)},
    optional={
        "datatype": st.sampled_from(["UINT32", "INT64", "FP32", "BYTES"]) | _JSON,
        "shape": st.lists(st.integers(-1, 4) | st.just(2**62), max_size=3) | _JSON,
        "data": st.lists(_SEEDS | st.floats(), max_size=4) | _JSON,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-1, 9) | _JSON}),
    },
)
_INFER = st.fixed_dictionaries(
    {"inputs": st.lists(_TENSOR, max_size=3)}, optional={"id": _JSON, "outputs": _JSON, "parameters": _JSON}
)
_PREDICT = st.fixed_dictionaries(
    {"instances": st.lists(_END, max_size=4)}, optional={"parameters": st.fixed_dictionaries({}, optional=_COMMON)}
)
_BODIES = st.none() | (
    st.binary(max_size=100)
    | (_GENERATE | _INTERPOLATE | _INFER | _PREDICT | _JSON).map(lambda content: json.dumps(content).encode())
)

_VALUES = st.text(string.printable[:95], max_size=30).map(str.strip)
_HEADER_NAMES = [
    *("Accept", "Content-Type", "If-None-Match", "Range", "Origin", "Authorization", "Expect", "traceparent"),
    *("Content-Encoding", "Inference-Header-Content-Length", "Cookie", "X-Forwarded-For", "Accept-Encoding"),
]
_HEADERS = st.dictionaries(
    st.sampled_from(_HEADER_NAMES),
    st.sampled_from(["application/json", "*/*", "image/webp;q=0.5", "100-continue", "gzip", "bytes=0-", "12", "*"])
    | _VALUES,
    max_size=4,
)
_QUERIES = st.none() | (
    st.dictionaries(
        st.sampled_from([*_COMMON, "label"]), _VALUES.map(lambda text: text.replace(" ", "+")), max_size=3
    ).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs.items()))
)
_TEMPLATES = [*(route.template for route in ROUTES), PREDICT, "/ping"]


@st.composite
def _requests(draw: st.DrawFn) -> tuple[str, str, dict[str, str], bytes | None]:
    """Draws method, target, headers and body."""
    path = draw(st.sampled_from(_TEMPLATES))
    for name in ("{model}", "{version}", "{file}"):
        path = path.replace(name, draw(_NAMES | st.just("1"))) if name in path else path
    path = path.replace("{seed}", str(draw(_SEEDS))).replace("{format}", draw(st.sampled_from(["png", "jpg", "tiff"])))
    query = draw(_QUERIES)
    routed = [route.method for route in ROUTES if route.template == path]
    method = draw(st.sampled_from([*routed, "POST"]) | _METHODS)
    headers = draw(_HEADERS)
    body = draw(_BODIES)
    if body is not None and draw(st.integers(0, 3)):
        headers["Content-Type"] = "application/json"
    return method, path if query is None else f"{path}?{query}", headers, body


def run_hypothesis(port: int, examples: int, seed: int, seconds: float) -> tuple[int, int, str | None]:
    """Sends so many requests, one after the other.

    Returns how many there were, how many had status 200, and how the smallest one that broke a promise did.
    """
    sent = succeeded = 0

    @with_seed(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[*HealthCheck],
    )
    @given(_requests())
    def check(request: tuple[str, str, dict[str, str], bytes | None]) -> None:
        nonlocal sent, succeeded
        attempt = _attempt(*request, Ids(_FIRST_NUMBER + sent))
        played = asyncio.run(play(port, attempt, seconds))
        sent += 1
        succeeded += any(answer.status == 200 for answer in played.answers)
        problem = judge(attempt, played)
        assert problem is None, f"{problem}\n  seed {seed}: {attempt.steps}"

    try:
        check()
    except AssertionError as error:
        return sent, succeeded, str(error)
    return sent, succeeded, None


def _attempt(method: str, target: str, headers: dict[str, str], body: bytes | None, ids: Ids) -> Attempt:
    request_id = next(ids)
    lines = [f"{method} {target} HTTP/1.1", "Host: figment", f"X-Request-ID: {request_id.decode()}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    data = "\r\n".join([*lines, "", ""]).encode() + (body or b"")
    return Attempt("Hypothesis", (data,), Then.OPEN, (Expected(NO_SERVER_ERROR, None, None, method),))
