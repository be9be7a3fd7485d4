"""Generators as the public writes them are packed without an option, and the service gives their own images."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from models.bundle import read_bundle
from models.noise import noise_for_seeds
from serving.inference.device import Devices, Hardware
from serving.inference.engine import Inputs, open_engine
from tests.serving.in_process import InProcess, request
from tests.training.packing.conftest import Packed
from tests.training.packing.generators import GENERATORS

NAMES = [exporter.__name__ for exporter in GENERATORS]
COUNT = 6
Pack = Callable[[str], Packed]


def inputs_of(packed: Packed, truncation: float = 1.0) -> Inputs:
    """The noise, labels and truncation of the first seeds."""
    labels = np.arange(COUNT) % packed.exported.labels if packed.exported.labels else None
    return Inputs(
        noise_for_seeds(range(COUNT), packed.exported.noise_dim), labels, np.full(COUNT, truncation, np.float32)
    )


def expected(packed: Packed, inputs: Inputs) -> np.ndarray:
    """The images of the generator's own framework."""
    labels = np.zeros(COUNT, np.int64) if inputs.label is None else inputs.label
    with torch.no_grad():
        return packed.exported.original(inputs.noise, labels, inputs.truncation)


def difference(one: np.ndarray, other: np.ndarray) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize("name", NAMES)
def test_the_engine_gives_the_images_of_the_generators_own_framework(packed: Pack, name: str) -> None:
    generator = packed(name)
    engine = open_engine(read_bundle(generator.bundle), Devices("cpu", Hardware(1)), max_batch=8)
    if generator.exported.batch is not None:
        assert engine.buckets == (generator.exported.batch,)
    for truncation in (1.0, 0.6):
        inputs = inputs_of(generator, truncation)
        alone = np.concatenate([engine.run(engine.pad([inputs.part(row, row + 1)])) for row in range(COUNT)])
        assert difference(alone, expected(generator, inputs)) <= 1
        assert alone.std() > 5, "a flat picture would agree with anything"
        step = min(4, engine.max_batch)
        parts = [engine.run(engine.pad([inputs.part(row, min(row + step, COUNT))])) for row in range(0, COUNT, step)]
        assert np.array_equal(np.concatenate(parts), alone), "a seed's image depends on its batch"


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_where_the_generator_comes_from_and_invents_nothing(packed: Pack, name: str) -> None:
    generator = packed(name)
    card = read_bundle(generator.bundle).card
    assert card.training is None
    assert card.tuning is None
    assert card.scores == ()
    assert (card.licence, card.intended_use, card.architecture) == ("unknown", "unknown", "unknown")
    assert card.noise_dim == generator.exported.noise_dim
    assert card.labels == (tuple(map(str, range(generator.exported.labels))) or None)
    assert card.batch_size == generator.exported.batch
    assert card.precision == ("fp16" if name == "half_precision" else "fp32")
    assert card.origin is not None
    assert card.origin.file == generator.exported.file.name
    assert (card.parity is None) == (card.origin.format == "onnx"), "ONNX was not run in another framework"
    assert Image.open(generator.bundle / "samples.png").width >= card.image.width * 7
    assert str(generator.exported.file.parent) not in (generator.bundle / "card.json").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_is_valid_one_file_without_traces_of_its_making(packed: Pack, name: str) -> None:
    graph = onnx.load(packed(name).bundle / "generator.onnx", load_external_data=False)
    onnx.checker.check_model(graph)
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in graph.graph.initializer)
    content = graph.SerializeToString()
    for trace in (b".py", str(Path(torch.__file__).parent).encode(), b"tests/training"):
        assert trace not in content


def test_the_service_serves_them_all(packed: Pack) -> None:
    """Six images need six batches of a generator that takes one image at once."""
    generators = [packed(name) for name in NAMES]
    zoo = generators[0].bundle.parents[1]
    service = InProcess(zoo, default_model=generators[0].bundle.parent.name, queue_images=64)
    try:
        for generator in generators:
            model = generator.bundle.parent.name
            body = {"seeds": f"0-{COUNT - 1}", "truncation": 0.8, "model": model}
            status, _, content = service.ask(request(body, "Accept: application/x-npy"))
            assert status == 200, (model, content)
            images = np.load(io.BytesIO(content))
            assert difference(images, expected(generator, inputs_of(generator, 0.8))) <= 1, model
            tensor = {"name": "seed", "datatype": "INT64", "shape": [COUNT], "data": list(range(COUNT))}
            psi = {"name": "truncation", "datatype": "FP32", "shape": [COUNT], "data": [0.8] * COUNT}
            status, _, content = service.ask(request({"inputs": [tensor, psi]}, path=f"/v2/models/{model}/infer"))
            assert status == 200, (model, content)
            _, _, data = service.ask(f"GET /v2/models/{model} HTTP/1.1\r\nHost: figment\r\n\r\n".encode())
            assert b'"noise"' in data
    finally:
        service.close()


def test_evaluate_runs_a_generator_that_takes_one_image_at_once(packed: Pack) -> None:
    from training.evaluation.hidden import hidden_from
    from training.evaluation.target import open_target

    generator = packed("one_vector")
    target = open_target(generator.bundle)
    inputs = inputs_of(generator)
    assert difference(target.sample(inputs.noise, None), expected(generator, inputs)) <= 1
    assert target.trained_on is None
    assert "trained elsewhere" in (hidden_from(target, None).reason or "")  # type: ignore[arg-type]
