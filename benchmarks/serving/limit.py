"""The limit: a server that does the same work without a framework, validation or metrics.

It turns seeds into noise, images and base64 PNGs, for one kind of request only: a greedy micro-batcher on bare ASGI
under uvicorn. ``GENERATOR`` names the ONNX file, ``THREADS`` sets ONNX Runtime's threads.
"""

import asyncio
import base64
import io
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
from PIL import Image

MAX_BATCH = 64

_random = np.random.RandomState()


def open_session(path: str, threads: int) -> Any:
    """Opens a session with ONNX Runtime's defaults."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feed(seeds: list[int], noise_dim: int) -> dict[str, Any]:
    """Returns the inputs of a generator without labels."""
    noise = np.empty((len(seeds), noise_dim), np.float32)
    for row, seed in enumerate(seeds):
        _random.seed(seed)
        noise[row] = _random.standard_normal(noise_dim)
    return {"noise": noise, "truncation": np.ones(len(seeds), np.float32)}


def png(pixels: Any) -> str:
    """Encodes an image as a base64 PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()


class MicroBatcher:
    """An ASGI application that answers ``{"seeds": [n]}`` with a list of one base64 PNG, at every path."""

    def __init__(self) -> None:
        self._session = open_session(os.environ["GENERATOR"], int(os.environ["THREADS"]))
        self._noise_dim = self._session.get_inputs()[0].shape[1]
        self._device = ThreadPoolExecutor(1)
        self._waiting: list[tuple[int, asyncio.Future[str]]] = []
        self._runner: asyncio.Task[None] | None = None

    def _generate(self, seeds: list[int]) -> list[str]:
        return [png(pixels) for pixels in self._session.run(None, feed(seeds, self._noise_dim))[0]]

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            items, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            images = await loop.run_in_executor(self._device, self._generate, [seed for seed, _ in items])
            for (_, future), image in zip(items, images, strict=True):
                if not future.done():
                    future.set_result(image)
        self._runner = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append((orjson.loads(body)["seeds"][0], future))
        if self._runner is None:
            self._runner = loop.create_task(self._run())
        answer = orjson.dumps([await future])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
