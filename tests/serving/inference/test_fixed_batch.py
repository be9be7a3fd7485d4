"""A graph that takes one batch size only is served with that size, and gives the images of the graph that takes any."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from models.bundle import BundleError, read_bundle, write_bundle
from models.noise import noise_for_seeds
from serving.inference.device import Devices, Hardware
from serving.inference.engine import Engine, Inputs, open_engine
from tests.serving.in_process import InProcess, request

SIZE = 2


@pytest.fixture(scope="module")
def zoo(tmp_path_factory, generators) -> Path:
    """The bundle ``mlp``, and ``pairs`` with the same weights, which takes two images at once."""
    root = tmp_path_factory.mktemp("zoo")
    bundle = read_bundle(generators.ship(root, "mlp", 1, generators.mlp()))
    model = onnx.load_from_string(bundle.onnx)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = SIZE
    graph = model.SerializeToString()
    changes = {"name": "pairs", "sha256": hashlib.sha256(graph).hexdigest(), "batch_size": SIZE}
    write_bundle(root, bundle.card.model_copy(update=changes), graph, b"")
    return root


def engine(folder: Path) -> Engine:
    return open_engine(read_bundle(folder), Devices("cpu", Hardware(1)), max_batch=8)


def inputs(count: int) -> Inputs:
    return Inputs(noise_for_seeds(range(count), 32), None, np.ones(count, np.float32))


def test_its_size_is_the_only_bucket(zoo: Path) -> None:
    pairs, any_size = engine(zoo / "pairs" / "1"), engine(zoo / "mlp" / "1")
    assert pairs.buckets == (SIZE,)
    assert pairs.max_batch == SIZE
    expected = any_size.run(any_size.pad([inputs(2)]))
    assert np.array_equal(pairs.run(pairs.pad([inputs(2)])), expected)
    assert np.array_equal(pairs.run(pairs.pad([inputs(1)])), expected[:1]), "one image is padded"


def test_a_request_for_more_images_takes_several_batches(zoo: Path) -> None:
    service = InProcess(zoo, queue_images=64)
    try:
        answers = [
            service.ask(request({"seeds": "0-6", "model": model}, "Accept: application/x-npy"))
            for model in ("mlp", "pairs")
        ]
        assert [status for status, _, _ in answers] == [200, 200]
        assert answers[0][2] == answers[1][2]
    finally:
        service.close()


def test_a_graph_of_another_size_than_the_card_says_is_rejected(zoo: Path, tmp_path: Path) -> None:
    bundle = read_bundle(zoo / "pairs" / "1")
    folder = write_bundle(tmp_path, bundle.card.model_copy(update={"batch_size": 3}), bundle.onnx, b"")
    with pytest.raises(BundleError, match=r"noise float32 \[2, 32\].*asks for noise float32 \[3, 32\]"):
        engine(folder)
