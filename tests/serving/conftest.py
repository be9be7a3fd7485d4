"""Small generators as bundles, and the service that serves them in its own process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from prometheus_client.parser import text_string_to_metric_families

from models.bundle import ImageSpec, write_bundle
from tests.cards import make_card

ROOT = Path(__file__).parents[2]

LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def _model(nodes, inits, inputs, image):
    nodes = [
        *nodes,
        helper.make_node("Tanh", ["raw"], ["tanh"]),
        helper.make_node("Mul", ["tanh", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "middle"], ["shifted"]),
        helper.make_node("Clip", ["shifted", "low", "high"], ["clipped"]),
        helper.make_node("Round", ["clipped"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Transpose", ["bytes"], ["images"], perm=[0, 2, 3, 1]),
    ]
    constants = {"scale": 127.5, "middle": 127.5, "low": 0.0, "high": 255.0}
    inits = {**inits, **{name: np.float32(value) for name, value in constants.items()}}
    graph = helper.make_graph(
        nodes,
        "generator",
        [helper.make_tensor_value_info(name, kind, ["N", *rest]) for name, kind, rest in inputs],
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", image.height, image.width, image.channels])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in inits.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


_NOISE = ("noise", TensorProto.FLOAT)
_TRUNCATION = ("truncation", TensorProto.FLOAT, [])


def mlp_generator(width=64, packed=True, half=False, channels=3):
    """Returns an unconditional generator, 16×16 RGB (or RGBA, of every alpha), Z = 32.

    Without ``packed`` the graph computes its weights, which ONNX Runtime cannot pack. With ``half`` it computes in 16
    bits; inputs and output keep their types.
    """
    state = np.random.RandomState(1)
    inits = {
        "w0": (state.randn(32, width) / 5).astype("f4"),
        "w1": (state.randn(width, 256 * channels) / np.sqrt(width)).astype("f4"),
        "column": np.array([-1, 1], "i8"),
        "shape": np.array([-1, channels, 16, 16], "i8"),
    }
    nodes = [
        helper.make_node("Reshape", ["truncation", "column"], ["t"]),
        helper.make_node("Mul", ["noise", "t"], ["z"]),
    ]
    weights = ["w0", "w1"]
    if not packed:
        inits |= {"nothing": np.float32(0), "one": np.float32(1)}
        nodes += [
            helper.make_node("ReduceMax", ["noise"], ["most"], keepdims=0),
            helper.make_node("Mul", ["most", "nothing"], ["zero"]),
            helper.make_node("Add", ["zero", "one"], ["unit"]),
            *(helper.make_node("Mul", [name, "unit"], [f"{name}u"]) for name in weights),
        ]
        weights = ["w0u", "w1u"]
    if half:
        inits |= {name: inits[name].astype("f2") for name in weights}
        nodes.append(helper.make_node("Cast", ["z"], ["z16"], to=TensorProto.FLOAT16))
    nodes += [
        helper.make_node("MatMul", ["z16" if half else "z", weights[0]], ["h"]),
        helper.make_node("LeakyRelu", ["h"], ["a"], alpha=0.2),
        helper.make_node("MatMul", ["a", weights[1]], ["wide"]),
        helper.make_node("Cast", ["wide"], ["flat"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["flat", "shape"], ["raw"]),
    ]
    image = ImageSpec(height=16, width=16, channels=channels)
    return _model(nodes, inits, [(*_NOISE, [32]), _TRUNCATION], image), 32, None, image


def conv_generator(width=32, size=16, repeat=0):
    """Returns a conditional generator, ``size``×``size`` grey, Z = 24; ``repeat`` more convolutions slow it down."""
    stride = size // 8
    state = np.random.RandomState(2)
    inits = {
        "embedding": state.randn(len(LABELS), 24).astype("f4"),
        "w": (state.randn(width * 16, 24) / 5).astype("f4"),
        "b": (state.randn(width * 16) / 10).astype("f4"),
        "column": np.array([-1, 1], "i8"),
        "shape": np.array([-1, width, 4, 4], "i8"),
        "c0": (state.randn(width, width, 4, 4) / 12).astype("f4"),
        "c1": (state.randn(width, 1, stride + 2, stride + 2) / 8).astype("f4"),
    }
    nodes = [
        helper.make_node("Reshape", ["truncation", "column"], ["t"]),
        helper.make_node("Mul", ["noise", "t"], ["z"]),
        helper.make_node("Gather", ["embedding", "label"], ["e"]),
        helper.make_node("Add", ["z", "e"], ["ze"]),
        helper.make_node("Gemm", ["ze", "w", "b"], ["g"], transB=1),
        helper.make_node("Reshape", ["g", "shape"], ["x"]),
        helper.make_node("ConvTranspose", ["x", "c0"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("LeakyRelu", ["y"], ["slow0"], alpha=0.2),
    ]
    for index in range(repeat):
        inits[f"k{index}"] = (state.randn(width, width, 3, 3) / np.sqrt(9 * width)).astype("f4")
        nodes.append(helper.make_node("Conv", [f"slow{index}", f"k{index}"], [f"slow{index + 1}"], pads=[1, 1, 1, 1]))
    nodes.append(
        helper.make_node("ConvTranspose", [f"slow{repeat}", "c1"], ["raw"], strides=[stride, stride], pads=[1, 1, 1, 1])
    )
    image = ImageSpec(height=size, width=size, channels=1)
    inputs = [(*_NOISE, [24]), ("label", TensorProto.INT64, []), _TRUNCATION]
    return _model(nodes, inits, inputs, image), 24, LABELS, image


def ship(root, name, version, generator, precision="fp32"):
    """Writes a bundle of a generator and returns its folder."""
    graph, noise_dim, labels, image = generator
    fields = {"noise_dim": noise_dim, "labels": labels, "image": image, "precision": precision}
    card = make_card(graph, name=name, version=version, **fields)
    return write_bundle(root, card, graph, b"")


@pytest.fixture
def no_settings(monkeypatch) -> None:
    """Removes all settings from the environment."""
    for name in [*os.environ]:
        if name.upper().startswith("FIGMENT_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def generators() -> SimpleNamespace:
    """Functions that return small generators, and ``ship``, which writes bundles of them."""
    return SimpleNamespace(mlp=mlp_generator, conv=conv_generator, ship=ship)


@pytest.fixture(scope="session")
def zoo(tmp_path_factory, generators) -> Path:
    """Four good bundles (``mlp`` 1 and 2, ``conv`` 1, ``sprite`` 1 with alpha), and ``broken`` 1: a byte is changed."""
    root = tmp_path_factory.mktemp("zoo")
    ship(root, "conv", 1, generators.conv())
    ship(root, "mlp", 1, generators.mlp())
    ship(root, "mlp", 2, generators.mlp(width=48))
    ship(root, "sprite", 1, generators.mlp(channels=4))
    graph = ship(root, "broken", 1, generators.mlp()) / "generator.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    return root


@pytest.fixture(scope="session")
def slow_zoo(tmp_path_factory) -> Path:
    """A generator that takes some milliseconds for an image."""
    root = tmp_path_factory.mktemp("slow")
    ship(root, "slow", 1, conv_generator(width=128, size=64, repeat=60))
    return root


class Server:
    """A running ``bentoml serve``."""

    def __init__(self, folder: Path, settings: dict[str, str], start_in: Path = ROOT, project: Path = ROOT) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / "log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FIGMENT_")}
        environment |= {"BENTOML_HOME": str(folder), "BENTOML_DO_NOT_TRACK": "True"}
        environment |= {"FIGMENT_LINGER_SECONDS": "0"} | settings  # tests end what they start
        command = [
            sys.executable,
            "-m",
            "bentoml",
            "serve",
            str(project),
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=start_in, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait(self, condition: Callable[[httpx.Response], bool], seconds: float = 40) -> httpx.Response:
        """Waits until a response of ``/readyz`` meets the condition."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                answer = httpx.get(f"{self.url}/readyz", timeout=2)
                if condition(answer):
                    return answer
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"not seen on /readyz; the log:\n{self.log}")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(httpx.get(f"{self.url}/metrics").text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Waits until the condition is true."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.log
            time.sleep(0.02)

    def answer_with(self, status: int, path: str, seconds: float = 5) -> httpx.Response:
        """Waits for a response with this status at a path."""
        answers: list[httpx.Response] = []
        self.until(lambda: answers.append(httpx.get(self.url + path)) or answers[-1].status_code == status, seconds)
        return answers[-1]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
                raise


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """Returns a context manager that starts a service.

    It takes a current folder, the folder of the project or Bento, and settings without their prefix.
    """

    @contextmanager
    def start(start_in: Path = ROOT, project: Path = ROOT, **settings: object) -> Iterator[Server]:
        names = {f"FIGMENT_{name.upper()}": str(value) for name, value in settings.items()}
        server = Server(tmp_path_factory.mktemp("home"), names, start_in, project)
        try:
            yield server
        finally:
            server.stop()

    return start


@pytest.fixture(scope="session")
def service(serve, zoo) -> Iterator[Server]:
    """The service with the bundles of ``zoo``, ready."""
    with serve(models=zoo, default_model="mlp", max_batch=16, encode_threads=2, intra_op_threads=2) as server:
        server.wait(lambda answer: answer.status_code == 200)
        yield server


@pytest.fixture
def client(service) -> Iterator[httpx.Client]:
    """A client of ``service``."""
    with httpx.Client(base_url=service.url, timeout=30) as client:
        yield client
