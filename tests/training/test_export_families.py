"""Every network family exports to a graph with constant weights that draws PyTorch's images at any batch size."""

import onnx
import pytest
import torch

from models.bundle import ImageSpec
from models.networks import NetworkConfig, build_generator
from models.networks.biggan import BigganConfig
from training.export import MAX_DIFFERENCE, in_float16, measure_parity, to_onnx
from training.runs.sampling import ImageGenerator


@pytest.mark.parametrize(("labels", "channels"), [(0, 3), (3, 4)])
def test_onnx_runtime_matches_pytorch(small_network: NetworkConfig, labels: int, channels: int) -> None:
    torch.manual_seed(0)
    image = ImageSpec.model_validate({"height": 16, "width": 16, "channels": channels})
    generator = build_generator(small_network, image, labels)
    network = ImageGenerator(generator).to(memory_format=torch.channels_last)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # else gates at 0 hide what is behind them
        label = torch.arange(16) % labels if labels else None
        for _ in range(3):  # batch statistics as after training
            network(torch.randn(16, small_network.noise_dim), label, torch.ones(16))
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    graph = to_onnx(network, small_network.noise_dim, labels)
    assert measure_parity(network, graph, small_network.noise_dim, labels).max_difference <= 1
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("channels", [3, 4])
def test_half_precision_is_close(small_network: NetworkConfig, channels: int) -> None:
    torch.manual_seed(0)
    image = ImageSpec.model_validate({"height": 16, "width": 16, "channels": channels})
    generator = build_generator(small_network, image, 3).eval()
    full = ImageGenerator(generator).eval()
    graph = to_onnx(in_float16(generator), small_network.noise_dim, 3)
    types = {tensor.data_type for tensor in onnx.load_from_string(graph).graph.initializer if len(tensor.dims) > 1}
    assert onnx.TensorProto.FLOAT16 in types
    assert onnx.TensorProto.FLOAT not in types
    assert measure_parity(full, graph, small_network.noise_dim, 3).max_difference <= MAX_DIFFERENCE["fp16"]


def test_no_weight_is_normalised_in_the_graph() -> None:
    """It would be again for every batch. The exporter itself folds small weights only, so these are not small."""
    config = BigganConfig(noise_dim=8, width=16, embedding_dim=4)
    network = ImageGenerator(build_generator(config, ImageSpec(height=8, width=8, channels=1), 0)).eval()
    nodes = {node.op_type for node in onnx.load_from_string(to_onnx(network, 8, 0)).graph.node}
    assert not nodes & {"ReduceL2", "Div", "Sqrt"}
