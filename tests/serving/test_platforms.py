"""The image's two programs, and the requests that SageMaker, Vertex AI and Cloud Run send to them."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from PIL import Image

from serving.config.settings import Settings
from serving.routes import ROUTES, routes_for
from tests.serving.in_process import ROOT, InProcess, queue_of, request

PROGRAMS = ROOT / "deploy" / "image"
PING, PREDICT = "/ping", "/invocations"
VERTEX = "/v1/endpoints/4242/deployedModels/77"


def environment(home, *folders, **variables):
    """The variables of a container: nothing of the machine's own but what its programs need."""
    path = os.pathsep.join([*map(str, folders), str(PROGRAMS), str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    return {"PATH": path, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", **variables}


@pytest.fixture
def started(tmp_path):
    """Returns what a program of the image would start: BentoML's arguments and Figment's variables."""
    (tmp_path / "bentoml").write_text('#!/bin/sh\necho "$@"\nenv | grep ^FIGMENT_ || true\n')
    (tmp_path / "bentoml").chmod(0o755)

    def start(program, **variables):
        done = subprocess.run(
            [program], env=environment(tmp_path, tmp_path, **variables), capture_output=True, text=True, check=True
        )
        arguments, *settings = done.stdout.splitlines()
        return arguments, {name: value for name, value in (line.split("=", 1) for line in settings) if value}

    return start


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def running(program, home, port, zoo, **variables):
    """A program of the image with its own service; yields its address once it answers."""
    variables = {"FIGMENT_MODELS": str(zoo), "FIGMENT_DEFAULT_MODEL": "conv", "FIGMENT_LINGER_SECONDS": "0"} | variables
    log = home / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [program], cwd=ROOT, env=environment(home, **variables), stdout=output, stderr=output
        )
    try:
        end = time.monotonic() + 60
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
        # The program is the service itself by now, as a container's first process has to be.
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) is not None
        assert "Draining" in log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def size_of(data):
    return Image.open(io.BytesIO(data)).size


def test_ports_and_routes_of_each_platform(started):
    def serve(port):
        return f"serve . --host 0.0.0.0 --port {port}"

    assert started("start") == (serve(3000), {})
    assert started("start", PORT="8080") == (serve(8080), {})
    vertex = {"AIP_HTTP_PORT": "8081", "AIP_HEALTH_ROUTE": VERTEX, "AIP_PREDICT_ROUTE": f"{VERTEX}:predict"}
    routes = {"FIGMENT_HEALTH_ROUTE": VERTEX, "FIGMENT_PREDICT_ROUTE": f"{VERTEX}:predict"}
    assert started("start", PORT="8080", **vertex) == (serve(8081), routes)
    own = {"FIGMENT_HEALTH_ROUTE": "/mine"}
    assert started("start", **vertex, **own) == (serve(8081), routes | own), "the operator's own setting comes first"


def test_sagemaker_kills_after_thirty_seconds(started):
    arguments, settings = started("serve")
    assert arguments == "serve . --host 0.0.0.0 --port 8080"
    assert settings.pop("FIGMENT_DRAIN_SECONDS") == "20"
    assert settings == {"FIGMENT_HEALTH_ROUTE": PING, "FIGMENT_PREDICT_ROUTE": PREDICT}
    assert started("serve", SAGEMAKER_BIND_TO_PORT="9001")[0].endswith(" 9001")


def test_the_image_has_both_programs():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "COPY deploy/image/* /usr/local/bin/" in dockerfile
    assert 'CMD ["start"]' in dockerfile
    assert "ENTRYPOINT" not in dockerfile, "SageMaker's `serve` would be its argument, and no program"
    assert "!deploy/image/**" in (ROOT / ".dockerignore").read_text().splitlines()
    for program in PROGRAMS.iterdir():
        assert program.read_text().startswith("#!/bin/sh\n")
        assert program.stat().st_mode & 0o111 == 0o111, "an image keeps the rights of the checkout"


@pytest.mark.parametrize("variable", ["PORT", "AIP_HTTP_PORT"])
def test_the_health_check_follows_the_port(tmp_path, variable):
    """On the wrong port, Docker would call a healthy container unhealthy."""
    joined = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    (check,) = [json.loads(line.split(" CMD ")[1]) for line in joined.splitlines() if line.startswith("HEALTHCHECK")]
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        port = str(server.server_port)
        subprocess.run([sys.executable, *check[1:]], env=environment(tmp_path, **{variable: port}), check=True)
        answering.join()
    assert check[0] == "python"
    assert asked == ["/livez"]


def test_sagemaker(zoo, tmp_path):
    port = free_port()
    with running("serve", tmp_path, port, zoo, SAGEMAKER_BIND_TO_PORT=str(port)) as url:
        began = time.monotonic()
        ping = httpx.get(url + PING, headers={"User-Agent": "AHC/2.0"}, timeout=10)
        assert (ping.status_code, time.monotonic() - began < 2) == (200, True)
        headers = {"Content-Type": "application/json", "X-Amzn-SageMaker-Custom-Attributes": "trace=1"}
        body = json.dumps({"seeds": [7], "labels": [3]})
        image = httpx.post(url + PREDICT, content=body, headers=headers | {"Accept": "image/png"})
        assert (image.status_code, image.headers["content-type"]) == (200, "image/png")
        assert image.content == httpx.get(f"{url}/images/conv/7.png?label=3").content
        assert httpx.get(f"{url}/execution-parameters").status_code == 404, "batch transform takes this as its default"


def test_vertex_ai(zoo, tmp_path):
    port = free_port()
    routes = {"AIP_HEALTH_ROUTE": VERTEX, "AIP_PREDICT_ROUTE": f"{VERTEX}:predict"}
    with running("start", tmp_path, port, zoo, AIP_HTTP_PORT=str(port), **routes) as url:
        assert httpx.get(url + VERTEX).status_code == 200
        body = {"instances": [{"seed": 7.0, "label": 3.0}, {"seed": 8.0, "label": 0.0}], "parameters": None}
        predicted = httpx.post(f"{url}{VERTEX}:predict", json=body)
        assert predicted.status_code == 200
        assert predicted.json().keys() == {"predictions"}
        first, second = predicted.json()["predictions"]
        assert (first["seed"], first["label"], second["label"]) == (7, "three", "zero")
        assert base64.b64decode(first["data"]) == httpx.get(f"{url}/images/conv/7.png?label=3").content
        raw = httpx.post(f"{url}{VERTEX}:predict", json={"count": 1}, headers={"Accept": "image/webp"})
        assert size_of(raw.content) == (16, 16)


def test_cloud_run(zoo, tmp_path):
    port = free_port()
    with running("start", tmp_path, port, zoo, PORT=str(port), K_SERVICE="figment") as url:
        assert httpx.get(f"{url}/readyz").status_code == 200
        assert httpx.get(url + PING).status_code == 404, "no platform asked for it"


@pytest.fixture(scope="module")
def served(zoo):
    """A service with both routes, keys, and room for 4 images in its queue."""
    served = InProcess(zoo, health_route=PING, predict_route=PREDICT, api_keys=("key",), max_images=8)
    yield served
    served.close()


def ask(served, body, *headers):
    status, _, content = served.ask(request(body, "Authorization: Bearer key", *headers, path=PREDICT))
    return status, content


def test_health_needs_no_key_and_images_need_one(served):
    status, _, body = served.ask(f"GET {PING} HTTP/1.1\r\nHost: figment\r\n\r\n".encode())
    assert status == 200
    assert json.loads(body)["status"] == "ready"
    assert served.ask(request({"count": 1}, path=PREDICT))[0] == 401


def test_requests_are_counted_by_their_route(served):
    before = served.metric("figment_requests_total", route=PREDICT, code="200")
    assert ask(served, {"instances": [{"seed": 1}]})[0] == 200
    assert served.metric("figment_requests_total", route=PREDICT, code="200") == before + 1


def test_predictions_follow_the_instances_and_share_the_parameters(served):
    noise = [[0.5] * 24, [-0.5] * 24]
    instances = [{"noise": row, "label": label} for row, label in zip(noise, ["one", 2], strict=True)]
    parameters = {"model": "conv", "version": 1.0, "format": "webp", "quality": 90, "truncation": 1.0}
    status, body = ask(served, {"instances": instances, "parameters": parameters})
    assert status == 200
    plain = {"noise": noise, "labels": ["one", 2], **parameters, "version": 1}
    same = json.loads(served.ask(request(plain, "Authorization: Bearer key"))[2])
    assert json.loads(body) == {"predictions": same["images"]}


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        ({"instances": []}, 422, "instances"),
        ({"instances": None}, 422, "instances"),
        ({"instances": {"seed": 1}}, 422, "instances"),
        ({"instances": [7]}, 422, "instances.0"),
        ({"instances": [{}]}, 422, "instances.0: one of seed and noise is needed"),
        ({"instances": [{"seed": 1, "noise": [0.0] * 32}]}, 422, "one of seed and noise is needed"),
        ({"instances": [{"seed": 1}, {"seed": -1}]}, 422, "instances.1.seed"),
        ({"instances": [{"seed": 1.5}]}, 422, "instances.0.seed"),
        ({"instances": [{"seed": True}]}, 422, "instances.0.seed"),
        ({"instances": [{"seed": "1"}]}, 422, "instances.0.seed"),
        ({"instances": [{"seed": 2**32}]}, 422, "instances.0.seed"),
        ({"instances": [{"seed": 1, "size": 64}]}, 422, "instances.0.size"),
        ({"instances": [{"seed": 1, "label": True}]}, 422, "instances.0.label"),
        ({"instances": [{"seed": 1}, {"noise": [0.0] * 32}]}, 422, "either each has a seed or each has noise"),
        ({"instances": [{"seed": 1, "label": 1}, {"seed": 2}]}, 422, "either each has a label or none has"),
        ({"instances": [{"noise": [0.0] * 31}]}, 422, "32 numbers an image"),
        ({"instances": [{"seed": 1}], "parameters": {"count": 3}}, 422, "parameters.count"),
        ({"instances": [{"seed": 1}], "parameters": {"truncation": 2}}, 422, "parameters.truncation"),
        ({"instances": [{"seed": 1}], "parameters": {"model": "nobody"}}, 404, "nobody"),
        ({"instances": [{"seed": 1}], "seeds": [1]}, 422, "seeds"),
        ({"instances": [{"seed": 1}] * 9}, 413, "instances: 9 images are more than the 8"),
        ({"size": 1}, 422, "size"),
        ([], 422, "body"),
        (b"[", 400, "JSON"),
    ],
)
def test_bad_input_is_named(served, body, status, part):
    given, content = ask(served, body)
    assert given == status, content
    assert part in json.loads(content)["error"]


def test_a_client_that_takes_no_json_is_told(served):
    status, content = ask(served, {"instances": [{"seed": 1}]}, "Accept: image/png")
    assert status == 406
    assert "application/json" in json.loads(content)["error"]


def test_a_full_queue_rejects_instances_before_noise_is_drawn(served, monkeypatch):
    def fail(*arguments):
        raise AssertionError("noise was drawn for a rejected request")

    monkeypatch.setattr("serving.api.inputs.noise_for_seeds", fail)
    queue = queue_of(served.runtime, "mlp")
    queue.images = 4
    try:
        status, _ = ask(served, {"instances": [{"seed": 1}]})
    finally:
        queue.images = 0
    assert status == 429


@pytest.mark.parametrize(
    ("health", "predict"),
    [("/readyz", "/generate"), ("/livez", "/interpolate"), ("/v2/health/ready", "/v2/models/mlp/infer")],
)
def test_a_path_that_exists_keeps_its_meaning(health, predict):
    """Vertex AI may be told to use Figment's own paths."""
    assert routes_for(Settings(health_route=health, predict_route=predict)) == ROUTES
