"""The Open Inference Protocol when the service is not ready, the queue is full, a deadline passes or clients leave."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest


def infer(url, count, timeout=60.0):
    given = {"name": "seed", "datatype": "INT64", "shape": [count], "data": list(range(count))}
    return httpx.post(f"{url}/v2/models/slow/infer", json={"inputs": [given]}, timeout=timeout)


def assert_rejected(answer, status):
    assert answer.status_code == status, answer.text[:500]
    assert answer.json().keys() == {"error"}


def test_not_ready(serve, tmp_path):
    with serve(models=tmp_path) as server:
        server.wait(lambda answer: answer.status_code == 503)
        assert httpx.get(f"{server.url}/v2/health/live").status_code == 200
        answers = [httpx.get(f"{server.url}/v2/{path}") for path in ("health/ready", "models/slow/ready")]
        for answer in (*answers, infer(server.url, 1)):
            assert_rejected(answer, 503)
            assert int(answer.headers["retry-after"]) > 0


def test_full_queue_disconnect_and_deadline(serve, slow_zoo):
    settings = {"max_batch": 2, "queue_images": 100, "deadline_seconds": 0.4, "intra_op_threads": 1}
    with serve(models=slow_zoo, **settings) as server:
        server.wait(lambda answer: answer.status_code == 200)
        # A client that goes away takes its images out of the queue.
        with httpx.Client(base_url=server.url) as client:
            given = {"name": "seed", "datatype": "INT64", "shape": [200], "data": list(range(200))}
            with pytest.raises(httpx.TimeoutException):
                client.post("/v2/models/slow/infer", json={"inputs": [given]}, timeout=0.1)
        server.until(lambda: server.metric("figment_dropped_images_total", reason="disconnected") > 0)
        server.until(lambda: server.metric("figment_queued_images") == 0)
        assert server.metric("figment_requests_total", route="/v2/models/{model}/infer", code="499") == 1
        assert_rejected(infer(server.url, 256), 504)
        assert server.metric("figment_dropped_images_total", reason="deadline") > 0


def test_full_queue(serve, slow_zoo):
    with (
        serve(models=slow_zoo, max_batch=2, queue_images=100, intra_op_threads=1) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        server.wait(lambda answer: answer.status_code == 200)
        many = pool.submit(infer, server.url, 200)
        server.until(lambda: server.metric("figment_queued_images") > 50)
        rejected = infer(server.url, 100)
        assert_rejected(rejected, 429)
        assert int(rejected.headers["retry-after"]) >= 1
        assert many.result().json()["outputs"][0]["shape"] == [200, 64, 64, 1]
