"""The mixture of requests: every route and form of answer, errors included, and what each must be answered with."""

import http.client
import json
import random
import struct
from dataclasses import dataclass
from typing import Any

COUNTER = "@" * 9
"""Stands for a number of nine digits that differs in every request that is sent."""

_JSON, _PNG, _WEBP, _ZIP = "application/json", "image/png", "image/webp", "application/zip"


@dataclass(frozen=True)
class Request:
    """A request of the mixture. ``COUNTER`` may stand in its path and body."""

    method: str
    path: str
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    determined: bool = True
    """Whether the same request always has the same answer, byte for byte."""

    def raw(self, index: int) -> bytes:
        """Returns the request as it is sent. Its answer repeats the id, and with it the place in the mixture."""
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: soak", f"X-Request-ID: {index}.{COUNTER}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.method == "POST":
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body

    def answer(self, port: int) -> bytes:
        """Asks the service once, and returns the body. Raises ``RuntimeError`` at another status than the right one."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        number = "1" + "0" * (len(COUNTER) - 1)
        body = self.body.replace(COUNTER.encode(), number.encode())
        connection.request(self.method, self.path.replace(COUNTER, number), body or None, dict(self.headers))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if response.status != self.status:
            raise RuntimeError(f"{self} got status {response.status}: {content[:300]!r}")
        return content


def mixture() -> list[Request]:
    """Returns requests in the order in which they are sent, again and again. One of ten closes its connection."""
    requests: list[Request] = []
    for seed in range(60):
        requests += [
            _generate(_JSON, seeds=[seed]),
            _generate(_JSON, seeds=[COUNTER]),
            _generate(_PNG, seeds=[seed]),
            _generate(_JSON, count=1),
        ]
    for seed in range(20):
        requests += [
            _generate(_WEBP, seeds=[seed]),
            _get(f"/images/tiny/{seed}.png"),
            _get(f"/images/g32/{COUNTER}.png", determined=False),
            _v2_json(seed),
            _v2_binary(seed),
        ]
    for seed in range(8):
        requests += [
            _generate(_ZIP, seeds=[*range(seed, seed + 8)]),
            _generate(_PNG, seeds=[*range(seed, seed + 9)], layout="grid"),
            _post("/interpolate", {"model": "tiny", "from": {"seed": seed}, "to": {"seed": seed + 1}, "steps": 5}),
            _get("/models"),
            _get("/metrics", determined=False),
            _get("/readyz"),
            _get(f"/nowhere-{COUNTER}", status=404, determined=False),
            _get(f"/images/nobody-{COUNTER}/1.png", status=404, determined=False),
        ]
    for _ in range(4):
        requests += [
            _post("/generate", b'{"model": "tiny", "seeds": [1]', status=400),
            _post("/generate", {"model": "nobody", "seeds": [1]}, status=404),
            _generate(_JSON, status=422, seeds=[-1]),
            _generate(_JSON, status=422, seeds=[1], quality=0),
            _post("/v2/models/tiny/infer", {"inputs": []}, status=422),
        ]
    shuffled = random.Random(0)
    shuffled.shuffle(requests)
    closing = ("Connection", "close")
    return [
        Request(**(vars(request) | {"headers": (*request.headers, closing)})) if index % 10 == 0 else request
        for index, request in enumerate(requests)
    ]


def _get(path: str, *, status: int = 200, determined: bool = True) -> Request:
    return Request("GET", path, status, determined=determined)


def _post(path: str, body: Any, *, status: int = 200, accept: str = _JSON, determined: bool = True) -> Request:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    # A seed in place of the counter is a number, not a text.
    content = content.replace(f'"{COUNTER}"'.encode(), COUNTER.encode())
    return Request("POST", path, status, content, (("Content-Type", _JSON), ("Accept", accept)), determined)


def _generate(accept: str, *, status: int = 200, **fields: Any) -> Request:
    determined = "count" not in fields and COUNTER not in fields["seeds"]
    return _post("/generate", {"model": "tiny"} | fields, status=status, accept=accept, determined=determined)


def _v2_json(seed: int) -> Request:
    tensor = {"name": "seed", "datatype": "UINT32", "shape": [1], "data": [seed]}
    return _post("/v2/models/tiny/infer", {"inputs": [tensor]})


def _v2_binary(seed: int) -> Request:
    tensor = {"name": "seed", "datatype": "UINT32", "shape": [1], "parameters": {"binary_data_size": 4}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = (("Content-Type", "application/octet-stream"), ("Inference-Header-Content-Length", str(len(head))))
    return Request("POST", "/v2/models/tiny/infer", 200, head + struct.pack("<I", seed), headers)
