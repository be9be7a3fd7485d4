"""Requests whose answers are known: each was asked alone first, and its pixels were compared with ONNX Runtime's."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.serving.answers import Answer
from benchmarks.serving.limit import open_session
from models.noise import noise_for_seeds
from serving.routes import ROUTES

MODELS = ("tiny", "g32")
PREDICT = "/predict"
"""The path of ``FIGMENT_PREDICT_ROUTE`` under test."""

# Their answers change while the service runs.
_CHANGING = ("/metrics", "/readyz")
_COMPARED_HEADERS = ("content-type", "x-figment-model", "x-figment-version", "x-figment-seeds", "etag", "allow")


@dataclass(frozen=True, eq=False)
class Known:
    """A request, and its answer when it was the only one."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    answer: Answer | None = None
    makes_images: bool = False

    def head(self, request_id: bytes, *lines: str) -> bytes:
        """Returns the request's head up to its last empty line, with these lines more."""
        first = f"{self.method} {self.target} HTTP/1.1"
        given = [f"{name}: {value}" for name, value in self.headers]
        own = ["Host: figment", f"X-Request-ID: {request_id.decode()}"]
        return "\r\n".join([first, *own, *given, *lines, "", ""]).encode()

    def whole(self, request_id: bytes, *lines: str) -> bytes:
        """Returns the request with its body, if it has one, and its ``Content-Length``."""
        if self.body is None:
            return self.head(request_id, *lines)
        return self.head(request_id, f"Content-Length: {len(self.body)}", *lines) + self.body

    def chunked(self, request_id: bytes, size: int, *lines: str) -> bytes:
        """Returns the request with its body in chunks of ``size`` bytes."""
        body = self.body or b""
        parts = (body[start : start + size] for start in range(0, len(body), size))
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
        return self.head(request_id, "Transfer-Encoding: chunked", *lines) + chunks + b"0\r\n\r\n"

    def difference(self, answer: Answer) -> str | None:
        """Returns how an answer differs from the known one; ``None`` if it does not."""
        assert self.answer is not None
        for name in _COMPARED_HEADERS:
            if answer.headers.get(name) != self.answer.headers.get(name):
                return f"{name} is {answer.headers.get(name)!r}, not {self.answer.headers.get(name)!r}"
        if self.target not in _CHANGING and answer.body != self.answer.body:
            return f"the body of {len(answer.body)} bytes is another one: {answer.body[:100]!r}"
        return None


def _post(path: str, content: object, *headers: tuple[str, str]) -> Known:
    body = json.dumps(content).encode()
    return Known("POST", path, (("Content-Type", "application/json"), *headers), body, makes_images=True)


MANY_IMAGES = _post("/generate", {"model": "g32", "seeds": "0-63", "format": "npy"})
"""Keeps the device at work for a while. Its answer is not known."""


def _image_requests(model: str, seed: int) -> list[Known]:
    """Returns one request of every form for a model's image of a seed."""
    tensors = {"inputs": [{"name": "seed", "datatype": "UINT32", "shape": [1], "data": [seed]}]}
    behind = {"name": "seed", "datatype": "UINT32", "shape": [1], "parameters": {"binary_data_size": 4}}
    binary = {"id": str(seed), "parameters": {"binary_data_output": True}, "inputs": [behind]}
    head = json.dumps(binary).encode()
    binary_headers = (
        ("Content-Type", "application/octet-stream"),
        ("Inference-Header-Content-Length", str(len(head))),
    )
    infer = f"/v2/models/{model}/infer"
    return [
        Known("GET", f"/images/{model}/{seed}.png", makes_images=True),
        _post("/generate", {"model": model, "seeds": [seed], "format": "npy"}),
        _post("/generate", {"model": model, "seeds": f"{seed}-{seed + 3}", "layout": "grid"}),
        _post("/generate", {"model": model, "seeds": [seed, seed + 1]}, ("Accept", "application/json")),
        Known("GET", f"/images/{model}/{seed}.jpg?truncation=0.5", makes_images=True),
        _post("/interpolate", {"model": model, "from": {"seed": seed}, "to": {"seed": seed + 1}, "steps": 3}),
        _post(PREDICT, {"instances": [{"seed": seed}], "parameters": {"model": model}}),
        _post(infer, tensors),
        Known("POST", infer, binary_headers, head + seed.to_bytes(4, "little"), makes_images=True),
        _post("/generate", {"model": model, "noise": [[seed / 100] * 128]}, ("Accept", "image/webp")),
    ]


def _other_requests() -> list[Known]:
    """Returns GET and HEAD of every path of the table without a parameter, paths with one, and wrong requests."""
    plain = [route.template for route in ROUTES if route.method == "GET" and "{" not in route.template]
    named = ["/models/tiny", "/v2/models/tiny", "/v2/models/tiny/versions/1", "/v2/models/g32/ready"]
    gets = [*plain, *named, "/playground/playground.css"]
    known = [Known(method, path) for path in gets for method in ("GET", "HEAD")]
    wrong = [
        Known("GET", "/nowhere"),
        Known("GET", "/generate"),
        Known("DELETE", "/models"),
        Known("GET", "/images/tiny/x.png"),
        Known("POST", "/generate", (), b"{}"),
        _post("/generate", {"seeds": [-1]}),
        _post("/v2/models/none/infer", {"inputs": []}),
    ]
    return known + wrong


def ask_alone(url: str, seeds: int) -> list[Known]:
    """Asks the service for every known request, one after the other, and returns them with their answers.

    Raises ``AssertionError`` if an image request fails, or if two image requests have the same answer.
    """
    asked = [known for seed in range(seeds) for model in MODELS for known in _image_requests(model, seed * 10)]
    answered = []
    with httpx.Client(base_url=url, timeout=30, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        for known in [*asked, *_other_requests()]:
            got = client.request(known.method, known.target, headers=[*known.headers], content=known.body)
            answer = Answer(got.status_code, {**got.headers}, got.content)
            answered.append(Known(known.method, known.target, known.headers, known.body, answer, known.makes_images))
    for known in answered[: len(asked)]:
        assert known.answer is not None
        assert known.answer.status == 200, (known, known.answer)
    bodies = {known.answer.body for known in answered[: len(asked)] if known.answer is not None}
    assert len(bodies) == len(asked), "two requests for images have the same answer, and could not be told apart"
    return answered


def compare_with_onnxruntime(known: list[Known], bundles: Path) -> int:
    """Compares every answer that is plain pixels or a PNG with the graph's own output, and returns how many there were.

    Raises ``AssertionError`` for a difference.
    """
    compared = 0
    for model in MODELS:
        session = open_session(str(bundles / model / "1" / "generator.onnx"), 1)
        for request in known:
            answer = request.answer
            if answer is None or answer.headers.get("x-figment-model") != model or "truncation" in request.target:
                continue
            seeds = answer.headers["x-figment-seeds"]
            if "," in seeds or not seeds:
                continue
            pixels = _pixels(answer)
            if pixels is None:
                continue
            noise = noise_for_seeds([int(seeds)], 128)
            (images,) = session.run(None, {"noise": noise, "truncation": np.ones(1, np.float32)})
            np.testing.assert_array_equal(pixels.reshape(images[0].shape), images[0], err_msg=request.target)
            compared += 1
    return compared


def _pixels(answer: Answer) -> NDArray[np.uint8] | None:
    """Returns the one image of an answer, uint8; ``None`` if it is in a form that loses some, or in JSON."""
    kind = answer.headers["content-type"]
    if kind == "image/png":
        return np.asarray(Image.open(io.BytesIO(answer.body)))
    if kind == "application/x-npy":
        pixels: NDArray[np.uint8] = np.load(io.BytesIO(answer.body), allow_pickle=False)
        return pixels
    return None
