"""The life cycle of a service: loading, full queues, disconnected clients, drain; and reasons for never being ready."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]


class BackgroundRequest(threading.Thread):
    """A request whose response is read later."""

    def __init__(self, url, body, timeout=60.0):
        super().__init__(daemon=True)
        self.request = (url + "/generate", body, timeout)
        self.response = None
        self.start()

    def run(self):
        url, body, timeout = self.request
        try:
            self.response = httpx.post(url, json=body, timeout=timeout)
        except httpx.TransportError as error:
            self.response = error

    def result(self):
        self.join(60)
        return self.response


def test_loading_full_queue_and_disconnected_clients(serve, slow_zoo):
    settings = {"max_batch": 4, "queue_images": 200, "deadline_seconds": 20, "intra_op_threads": 1}
    with serve(models=slow_zoo, **settings) as server:
        loading = server.wait(lambda answer: answer.status_code == 503)
        assert loading.json()["status"] == "loading"
        assert int(loading.headers["retry-after"]) >= 1
        assert httpx.get(server.url + "/livez").status_code == 200
        early = httpx.post(server.url + "/generate", json={"seeds": [1]})
        assert early.status_code == 503
        assert early.headers["retry-after"]
        server.wait(lambda answer: answer.status_code == 200)

        # A full queue: 429, with a retry time from the device's throughput. Other requests are still served.
        many = BackgroundRequest(server.url, {"count": 200})
        server.until(lambda: server.metric("figment_queued_images") > 100)
        rejected = httpx.post(server.url + "/generate", json={"count": 200})
        assert rejected.status_code == 429
        assert int(rejected.headers["retry-after"]) >= 1
        # One image does not wait for the hundreds of images before it.
        small = httpx.post(server.url + "/generate", json={"seeds": [1]}, timeout=60)
        assert small.status_code == 200
        assert many.response is None, "the small request must overtake the large one"
        assert many.result().status_code == 200
        assert server.metric("figment_dropped_images_total", reason="queue_full") == 200

        # The images of disconnected clients leave the queue.
        generated = server.metric("figment_batch_images_sum")
        disconnected = BackgroundRequest(server.url, {"count": 200}, timeout=0.3)
        assert isinstance(disconnected.result(), httpx.TimeoutException)
        server.until(lambda: server.metric("figment_dropped_images_total", reason="disconnected") > 0)
        server.until(lambda: server.metric("figment_queued_images") == 0)
        dropped = server.metric("figment_dropped_images_total", reason="disconnected")
        time.sleep(0.5)
        assert server.metric("figment_batch_images_sum") - generated <= 200 - dropped
        assert server.metric("figment_requests_total", route="/generate", code="499") == 1


def test_deadline_gives_504(serve, slow_zoo):
    with serve(models=slow_zoo, max_batch=2, deadline_seconds=0.3, intra_op_threads=1) as server:
        server.wait(lambda answer: answer.status_code == 200)
        started = time.monotonic()
        late = httpx.post(server.url + "/generate", json={"count": 200}, timeout=60)
        assert late.status_code == 504
        assert time.monotonic() - started < 3
        assert late.json()["detail"] == []
        assert server.metric("figment_dropped_images_total", reason="deadline") > 0
        assert server.metric("figment_queued_images") == 0


def test_metrics_of_two_workers_are_merged(serve, zoo):
    with serve(models=zoo, workers=2, max_batch=4, intra_op_threads=1) as server:
        server.wait(lambda answer: answer.status_code == 200)
        server.until(lambda: all(httpx.get(server.url + "/readyz").status_code == 200 for _ in range(12)), 40)
        for _ in range(30):  # each over its own connection, which any worker may accept
            assert httpx.post(server.url + "/generate", json={"seeds": [1]}).status_code == 200
        assert server.metric("figment_requests_total", route="/generate", code="200") == 30
        assert server.metric("figment_model_info", model="conv") == 1
        assert server.metric("figment_ready") == server.metric("figment_alive") == 1
        assert server.metric("process_resident_memory_bytes") > 100e6, "two workers with ONNX Runtime"


def test_stuck_device_is_not_alive(serve, slow_zoo):
    with serve(models=slow_zoo, max_batch=4, stuck_seconds=0.001, intra_op_threads=1) as server:
        server.wait(lambda answer: answer.status_code == 200)
        assert httpx.get(server.url + "/livez").status_code == 200
        BackgroundRequest(server.url, {"count": 250}, timeout=5)
        for path in ("/livez", "/v2/health/live"):
            # Between two batches the device is not stuck: this waits for the response that reports it.
            dead = server.answer_with(503, path)
            assert "slow/1" in dead.json()["error"]
        server.until(lambda: server.metric("figment_alive") == 0)


def test_drain_finishes_requests_in_flight(serve, slow_zoo):
    with serve(models=slow_zoo, max_batch=4, linger_seconds=0.5, drain_seconds=30, intra_op_threads=1) as server:
        server.wait(lambda answer: answer.status_code == 200)
        in_flight = BackgroundRequest(server.url, {"count": 200})
        server.until(lambda: server.metric("figment_queued_images") > 150)
        server.process.send_signal(signal.SIGTERM)
        lingering = server.wait(lambda answer: answer.status_code == 503, 5)
        assert lingering.json()["status"] == "lingering"
        assert lingering.headers["connection"] == "close"
        assert httpx.get(server.url + "/images/slow/1.png", timeout=60).status_code == 200
        server.wait(lambda answer: answer.json()["status"] == "draining", 5)
        rejected = httpx.post(server.url + "/generate", json={"seeds": [1]})
        assert rejected.status_code == 503
        assert rejected.headers["retry-after"]
        assert httpx.get(server.url + "/livez").status_code == 200
        assert in_flight.result().status_code == 200
        assert len(in_flight.response.json()["images"]) == 200
        assert server.process.wait(15) == 0


def test_drain_drops_requests_after_its_time(serve, slow_zoo):
    with serve(models=slow_zoo, max_batch=4, drain_seconds=0.5, intra_op_threads=1) as server:
        server.wait(lambda answer: answer.status_code == 200)
        in_flight = BackgroundRequest(server.url, {"count": 250})
        server.until(lambda: server.metric("figment_queued_images") > 100)
        server.process.send_signal(signal.SIGTERM)
        assert in_flight.result().status_code == 503
        server.process.wait(15)


def test_client_that_never_reads_does_not_keep_the_process(serve, zoo):
    """It is cut off one second after the drain. Without that, its orchestrator would have to kill the process."""
    body = b'{"model": "mlp", "count": 256}'
    head = (
        b"POST /generate HTTP/1.1\r\nHost: figment\r\nAccept: application/x-npy\r\nContent-Type: application/json\r\n"
    )
    one = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with serve(models=zoo, drain_seconds=1, intra_op_threads=1) as server:
        server.wait(lambda answer: answer.status_code == 200)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            client.sendall(one * 100)  # their responses are 20 MB, more than the kernel buffers
            server.until(lambda: server.metric("figment_images_total", format="npy") >= 256)
            time.sleep(1)
            server.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert server.process.wait(20) == 0
            assert time.monotonic() - began < 8
        assert "Aborted 1 connections" in server.log


def test_never_ready_if_cuda_does_not_load(serve, zoo):
    with serve(models=zoo, device="cuda") as server:
        answer = server.wait(lambda answer: answer.json()["status"] == "unusable")
        assert answer.status_code == 503
        assert "FIGMENT_DEVICE=cuda cannot be used" in answer.json()["reason"]
        assert "CRITICAL figment.service: Never ready: FIGMENT_DEVICE=cuda" in server.log
        assert httpx.post(server.url + "/generate", json={"seeds": [1]}).status_code == 503
        assert server.metric("figment_ready") == 0


def test_never_ready_without_a_usable_bundle(serve, tmp_path, generators):
    graph = generators.ship(tmp_path, "mlp", 1, generators.mlp()) / "generator.onnx"
    graph.write_bytes(b"not a graph")
    with serve(models=tmp_path, log_format="json") as server:
        answer = server.wait(lambda answer: answer.json()["status"] == "unusable")
        assert "no usable bundle" in answer.json()["reason"]
        assert answer.json()["refused"][0]["bundle"] == "mlp/1"
        assert '"level": "critical"' in server.log


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"FIGMENT_MAX_BATCH": "none"}, "FIGMENT_MAX_BATCH cannot be 'none'"),
        ({"FIGMENT_API_KEYS": ""}, "FIGMENT_API_KEYS: it is set and holds no key"),
    ],
)
def test_invalid_setting_ends_the_start_with_one_sentence(tmp_path, setting, sentence):
    """An empty secret must not open the service to all."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FIGMENT_")}
    environment |= {"BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"}
    result = subprocess.run(
        [sys.executable, "-m", "bentoml", "serve", ".", "--port", "1"],
        cwd=ROOT,
        env=environment | setting,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode != 0
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
