"""An exported bundle makes the images the trainer made, and is refused where it would not."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

import training.export
from models.bundle import ImageSpec, Parity, read_bundle
from models.networks import build_generator
from models.networks.dcgan import DcganConfig
from models.noise import noise_for_seeds
from training.errors import TrainingError
from training.export import export, measure_parity, to_onnx
from training.runs.checkpoints import checkpoints
from training.runs.folder import RunFolder
from training.runs.sampling import ImageGenerator

SHIPPED = Path(__file__).parents[2] / "models" / "zoo"


@pytest.fixture(scope="module")
def bundle(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(RunFolder.open(finished_run), tmp_path_factory.mktemp("zoo"))


def test_the_card_records_the_training(bundle: Path, finished_run: Path) -> None:
    card = read_bundle(bundle).card
    assert (card.name, card.version, card.labels) == ("digits", 1, tuple("0123456789"))
    assert card.training.images_seen == 512
    assert card.training.dataset.fingerprint == json.loads((finished_run / "data.json").read_text())["fingerprint"]
    assert card.parity.batch_sizes == (1, 2, 3, 7, 16)
    assert card.parity.max_difference <= 1
    assert Image.open(bundle / "samples.png").size == (320, 256)


def test_the_graph_is_one_file_of_plain_operators(bundle: Path) -> None:
    graph = onnx.load(bundle / "generator.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert not any(tensor.external_data for tensor in graph.graph.initializer)
    assert {node.domain for node in graph.graph.node} == {""}
    assert graph.opset_import[0].version == read_bundle(bundle).card.opset


def test_the_images_are_those_of_the_ema_generator(bundle: Path, finished_run: Path) -> None:
    run = RunFolder.open(finished_run)
    image = ImageSpec(height=32, width=32, channels=1)
    generator = build_generator(run.config.network, image, 10).eval()
    content = torch.load(checkpoints(run.checkpoints)[-1], weights_only=True)
    generator.load_state_dict(content[f"average_{run.config.ema.half_lives[0]}"])
    session = onnxruntime.InferenceSession(str(bundle / "generator.onnx"), providers=["CPUExecutionProvider"])
    noise, label = noise_for_seeds(range(5), 16), np.arange(5)
    images = session.run(None, {"noise": noise, "label": label, "truncation": np.ones(5, np.float32)})[0]
    with torch.no_grad():
        plain = generator(torch.from_numpy(noise), torch.from_numpy(label))
    expected = ((plain + 1) * 127.5).clamp(0, 255).round().permute(0, 2, 3, 1).numpy()
    assert (images.dtype, images.shape) == (np.uint8, (5, 32, 32, 1))
    assert np.abs(images - expected).max() <= 1
    assert images.std() > 2, "a flat picture would agree with anything"


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("labels", [0, 3])
def test_every_shape_of_generator_exports(channels: int, labels: int) -> None:
    torch.manual_seed(0)
    config = DcganConfig(noise_dim=8, width=4)
    image = ImageSpec.model_validate({"height": 16, "width": 16, "channels": channels})
    network = ImageGenerator(build_generator(config, image, labels)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4)  # fresh weights make flat grey, in which any two graphs agree
        assert network(torch.randn(2, 8), torch.zeros(2, dtype=torch.int64), torch.ones(2)).float().std() > 10
    graph = to_onnx(network, 8, labels)
    assert measure_parity(network, graph, 8, labels).max_difference <= 1


def test_a_bundle_does_not_tell_where_it_was_made(finished_run: Path, tmp_path: Path) -> None:
    """The exporter notes a stack trace at each node: local paths, user names and source lines."""
    graph = (export(RunFolder.open(finished_run), tmp_path) / "generator.onnx").read_bytes()
    for name in (str(Path(torch.__file__).parent), str(Path(training.export.__file__).parents[1]), ".py", "File "):
        assert name.encode() not in graph, name


@pytest.mark.parametrize("graph", sorted(SHIPPED.glob("*/*/generator.onnx")), ids=lambda path: path.parts[-3])
def test_no_shipped_bundle_tells_where_it_was_made(graph: Path) -> None:
    assert b".py" not in graph.read_bytes()


def test_disagreement_is_measured() -> None:
    config, image = DcganConfig(noise_dim=8, width=4), ImageSpec(height=16, width=16, channels=1)
    one = ImageGenerator(build_generator(config, image, 0)).eval()
    with torch.no_grad():
        graph = to_onnx(one, 8, 0)
        one.generator.to_image.bias.add_(0.1)
    assert measure_parity(one, graph, 8, 0).max_difference > 1


def test_transparent_images_disagree_where_it_can_be_seen() -> None:
    """Three tenths of a level at the faintest alphas change straight colours a lot, and nothing that is seen."""

    class Faint(torch.nn.Module):
        def __init__(self, shift: float) -> None:
            super().__init__()
            self.shift = torch.nn.Parameter(torch.tensor(shift))

        def forward(self, noise: torch.Tensor, label: None, truncation: torch.Tensor) -> torch.Tensor:
            alpha = noise.abs().view(-1, 1, 4, 8) + self.shift * truncation.view(-1, 1, 1, 1)
            return torch.cat((0.9 * alpha.expand(-1, 3, -1, -1), alpha), 1) / 127.5 - 1

    one, other = (ImageGenerator(Faint(shift)).eval() for shift in (0.0, 0.3))
    noise, truncation = torch.from_numpy(noise_for_seeds(range(16), 32)), torch.ones(16)
    with torch.no_grad():
        straight = [network(noise, None, truncation)[..., 0].int() for network in (one, other)]
        assert (straight[0] - straight[1]).abs().max() > 100
        assert measure_parity(other, to_onnx(one, 32, 0), 32, 0).max_difference <= 1


def test_a_bundle_that_disagrees_is_not_written(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        training.export, "measure_parity", lambda *_: Parity(max_difference=2, batch_sizes=(1, 2, 3, 7, 16))
    )
    with pytest.raises(TrainingError, match="differ from PyTorch's by up to 2 of 255"):
        export(RunFolder.open(finished_run), tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


def test_a_graph_that_draws_random_numbers_is_rejected() -> None:
    class Noisy(torch.nn.Module):
        def forward(self, noise: torch.Tensor, label: None, truncation: torch.Tensor) -> torch.Tensor:
            return noise + torch.randn_like(noise) * truncation.unsqueeze(1)

    with pytest.raises(TrainingError, match="draws random numbers"):
        to_onnx(Noisy().eval(), 8, 0)


def test_versions_count_up(finished_run: Path, tmp_path: Path, train: Callable[..., None]) -> None:
    for version in (1, 2):
        train("export", finished_run, "--to", tmp_path, "--name", "numbers")
        assert (tmp_path / "numbers" / str(version) / "generator.onnx").is_file()
