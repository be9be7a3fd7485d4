"""What ``pack`` prints, sets, freezes and writes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper

from models.bundle import read_bundle
from models.noise import noise_for_seeds
from tests.training.packing import factories
from tests.training.packing.graphs import FLOAT, INT64, Sizes, generator, model, saved
from training.errors import TrainingError

Train = Callable[..., None]
FACTORIES = "tests.training.packing.factories"


@pytest.fixture
def pack(train: Train, tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that packs a graph or a file, and returns the bundle."""

    def run(file: onnx.ModelProto | Path | str, *options: str | Path) -> Path:
        path = saved(file, tmp_path) if isinstance(file, onnx.ModelProto) else file
        train("pack", path, "--to", tmp_path / "zoo", "--name", "x", *options)
        return max((tmp_path / "zoo" / "x").iterdir())

    return run


def images(bundle: Path, count: int = 4, truncation: float = 1.0) -> np.ndarray:
    """The images of the first seeds, from the bundle's graph."""
    content = read_bundle(bundle)
    session = onnxruntime.InferenceSession(content.onnx, providers=["CPUExecutionProvider"])
    feed = {
        "noise": noise_for_seeds(range(count), content.card.noise_dim),
        "truncation": np.full(count, truncation, np.float32),
    }
    if content.card.labels:
        feed["label"] = np.arange(count) % content.card.num_labels
    return session.run(["images"], feed)[0]


def test_a_dry_run_prints_the_table_and_writes_nothing(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("pack", saved(generator(), tmp_path), "--dry-run")
    table = capsys.readouterr().out
    for line in (
        "noise       z [N, 8]",
        "label       none",
        "truncation  scales the noise",
        "range       -1 … 1 (seen:",
    ):
        assert line in table
    for option in ("--noise", "--label", "--truncation", "--output", "--layout", "--range", "--freeze-random"):
        assert option in table
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generator.onnx"]


def test_the_folder_is_the_only_line_on_standard_output(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script reads it; the table goes to standard error."""
    train("pack", saved(generator(), tmp_path), "--to", tmp_path / "zoo", "--name", "x")
    out, table = capsys.readouterr()
    assert out == f"{tmp_path}/zoo/x/1\n"
    assert "noise       z [N, 8]" in table


def test_a_folder_and_a_name_are_needed(train: Train, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--to and --name are needed, or --dry-run"):
        train("pack", saved(generator(), tmp_path), "--name", "x")


def test_versions_count_up_and_the_card_takes_the_users_words(pack: Callable[..., Path], tmp_path: Path) -> None:
    pack(generator())
    card = json.loads((pack(generator(), "--licence", "CC0", "--architecture", "dcgan") / "card.json").read_text())
    assert (card["version"], card["licence"], card["architecture"]) == (2, "CC0", "dcgan")
    assert card["training"] is None
    assert card["parity"] is None
    assert card["origin"]["inputs"] == {"z": "noise [N, 8] float32"}
    assert "batch_size" not in card


@pytest.mark.parametrize(
    ("value_range", "scale", "shift"), [("-1..1", 127.5, 127.5), ("0..1", 255, 0), ("0..255", 1, 0)]
)
def test_options_win_over_guesses(
    pack: Callable[..., Path], value_range: str, scale: float, shift: float, tmp_path: Path
) -> None:
    network = generator(tail=None, gain=0.5)
    plain = onnxruntime.InferenceSession(saved(network, tmp_path), providers=["CPUExecutionProvider"])
    raw = plain.run(None, {"z": noise_for_seeds(range(4), 8)})[0]
    expected = (raw * scale + shift).clip(0, 255).round().transpose(0, 2, 3, 1)
    assert np.abs(images(pack(network, "--range", value_range)) - expected).max() <= 1


def test_transparent_pixels_are_black(pack: Callable[..., Path]) -> None:
    pixels = images(pack(generator(channels=4, gain=4)), 20)
    hidden = pixels[..., 3] == 0
    assert 0.1 < hidden.mean() < 0.9
    assert (pixels[hidden] == 0).all()
    assert pixels[~hidden][:, :3].std() > 50


@pytest.mark.parametrize("sizes", [[], [1], ["N"], ["N", 1]], ids=str)
@pytest.mark.parametrize("batch", ["N", 1])
def test_truncation_differs_between_the_images_of_a_batch(
    pack: Callable[..., Path], sizes: Sizes, batch: str | int
) -> None:
    """A graph that takes one number for a batch takes one for each image where it broadcasts."""
    network = generator(sizes=[batch, 8])
    network.graph.input.append(helper.make_tensor_value_info("truncation_psi", FLOAT, sizes))
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 1]), "column"))
    network.graph.node.insert(0, helper.make_node("Mul", ["z", "factor"], ["scaled"]))
    network.graph.node[1].input[0] = "scaled"
    step = helper.make_node("Reshape", ["truncation_psi", "column"], ["factor"])
    network.graph.node.insert(
        0, step if sizes == ["N"] else helper.make_node("Identity", ["truncation_psi"], ["factor"])
    )
    bundle = pack(network)
    content = read_bundle(bundle)
    assert content.card.batch_size is None
    session = onnxruntime.InferenceSession(content.onnx, providers=["CPUExecutionProvider"])
    noise, psi = noise_for_seeds([5, 5, 5], 8), np.array([1, 0.5, 0], np.float32)
    together = session.run(None, {"noise": noise, "truncation": psi})[0]
    for row in range(3):
        alone = session.run(None, {"noise": noise[row : row + 1], "truncation": psi[row : row + 1]})[0]
        assert np.array_equal(alone[0], together[row])
    assert not np.array_equal(together[0], together[1])
    assert (together[2] == 128).all()


def test_noise_that_is_divided_by_its_length_gives_an_image_at_truncation_0(pack: Callable[..., Path]) -> None:
    network = generator()
    network.graph.node.insert(0, helper.make_node("ReduceL2", ["z"], ["length"], axes=[1], keepdims=1))
    network.graph.node.insert(1, helper.make_node("Div", ["z", "length"], ["direction"]))
    network.graph.node[2].input[0] = "direction"
    bundle = pack(network)
    assert np.abs(images(bundle, truncation=0).astype(int) - images(bundle)).max() <= 1


def drawing(operator: str, **attributes: object) -> onnx.ModelProto:
    network = generator(tail=None)
    inputs = ["raw"] if operator.endswith("Like") else []
    network.graph.node.insert(3, helper.make_node(operator, inputs, ["drawn"], "noise", **attributes))
    network.graph.node.insert(4, helper.make_node("Add", ["raw", "drawn"], ["moved"]))
    network.graph.node[5].CopyFrom(helper.make_node("Tanh", ["moved"], ["image"]))
    return network


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("RandomNormalLike", {}),
        ("RandomUniformLike", {"low": -2.0, "high": 2.0}),
        ("RandomNormal", {"shape": [1, 3, 4, 4], "mean": 0.5, "scale": 2.0}),
        ("RandomUniform", {"shape": [1, 1, 4, 4]}),
    ],
)
def test_frozen_noise_is_the_seeds_and_the_same_in_every_image(
    pack: Callable[..., Path], operator: str, attributes: dict[str, object]
) -> None:
    network = drawing(operator, **attributes)
    one, again, other = (images(pack(network, "--freeze-random", seed)) for seed in ("3", "3", "4"))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    weights = onnx.numpy_helper.to_array(network.graph.initializer[0])
    raw = (noise_for_seeds(range(4), 8) @ weights).reshape(4, 3, 4, 4)
    state = np.random.RandomState(3)
    shape = attributes.get("shape", [1, 3, 4, 4])
    if "Normal" in operator:
        drawn = state.randn(*shape) * attributes.get("scale", 1) + attributes.get("mean", 0)
    else:
        drawn = state.uniform(attributes.get("low", 0), attributes.get("high", 1), shape)
    expected = (np.tanh(raw + drawn) * 127.5 + 127.5).round().transpose(0, 2, 3, 1)
    assert np.abs(one - expected).max() <= 1


def test_frozen_noise_is_on_the_card(pack: Callable[..., Path]) -> None:
    origin = read_bundle(pack(drawing("RandomNormalLike"), "--freeze-random", "3")).card.origin
    assert origin is not None
    assert (origin.frozen, origin.frozen_seed) == (("noise",), 3)


def test_labels_have_the_users_names(pack: Callable[..., Path], tmp_path: Path) -> None:
    weights = np.random.RandomState(0).randn(3, 8).astype(np.float32)
    network = generator()
    network.graph.input.append(helper.make_tensor_value_info("kind", INT64, ["N"]))
    network.graph.initializer.append(onnx.numpy_helper.from_array(weights, "embedding"))
    network.graph.node.insert(0, helper.make_node("Gather", ["embedding", "kind"], ["e"]))
    network.graph.node.insert(1, helper.make_node("Add", ["z", "e"], ["ze"]))
    network.graph.node[2].input[0] = "ze"
    (tmp_path / "names.txt").write_text("cat\ndog\nowl\n")
    for names in ("cat,dog,owl", tmp_path / "names.txt"):
        assert read_bundle(pack(network, "--labels", names)).card.labels == ("cat", "dog", "owl")
    assert read_bundle(pack(network, "--labels", "2")).card.labels == ("0", "1"), "the last row may be no label"
    with pytest.raises(TrainingError, match="--labels gives 4 labels, but kind takes 3"):
        pack(network, "--labels", "4")


@pytest.mark.parametrize("written", ["OneHot", "Equal"])
def test_labels_that_become_one_hot_inside_are_counted(pack: Callable[..., Path], written: str) -> None:
    """Any index runs there: a label too many would be an image of no label."""
    weights = np.random.RandomState(0).randn(13, 48).astype(np.float32)
    constants = {"w": weights, "sizes": np.array([-1, 3, 4, 4]), "column": np.array([-1, 1])}
    if written == "OneHot":
        constants |= {"depth": np.array(5), "switch": np.array([0, 1], np.float32)}
        nodes = [helper.make_node("OneHot", ["label", "depth", "switch"], ["hot"])]
    else:
        constants["classes"] = np.arange(5)
        nodes = [
            helper.make_node("Reshape", ["label", "column"], ["l"]),
            helper.make_node("Equal", ["l", "classes"], ["same"]),
            helper.make_node("Cast", ["same"], ["hot"], to=FLOAT),
        ]
    nodes += [
        helper.make_node("Concat", ["z", "hot"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "w"], ["d"]),
        helper.make_node("Reshape", ["d", "sizes"], ["r"]),
        helper.make_node("Tanh", ["r"], ["image"]),
    ]
    inputs = {"z": (FLOAT, ["N", 8]), "label": (INT64, ["N"])}
    card = read_bundle(pack(model(nodes, inputs, {"image": ["N", 3, 4, 4]}, constants))).card
    assert card.labels == tuple("01234")


def test_names_inside_the_graph_may_be_those_of_a_bundle(pack: Callable[..., Path]) -> None:
    """A bundle can be packed again: all its names are taken."""
    bundle = pack(generator())
    again = pack(bundle / "generator.onnx")
    assert np.array_equal(images(again), images(bundle))


def test_a_factory_with_weights(pack: Callable[..., Path], tmp_path: Path) -> None:
    from tests.training.packing.generators import in_unit, lively

    module = lively(factories.dcgan())
    for name, content in (
        ("plain", module.state_dict()),
        ("checkpoint", {"netG": module.state_dict(), "epoch": 7}),
        ("parallel", {f"module.{key}": value for key, value in module.state_dict().items()}),
    ):
        torch.save(content, tmp_path / f"{name}.pt")
        bundle = pack(f"{FACTORIES}:dcgan", "--weights", tmp_path / f"{name}.pt")
        with torch.no_grad():
            expected = in_unit(module(torch.from_numpy(noise_for_seeds(range(4), 100))[:, :, None, None]))
        assert np.abs(images(bundle).astype(int) - expected).max() <= 1
        origin = read_bundle(bundle).card.origin
        assert origin is not None
        assert (origin.file, origin.producer) == (f"{name}.pt", f"{FACTORIES}:dcgan")


def test_a_factory_with_labels_and_one_with_spectral_normalisation(pack: Callable[..., Path]) -> None:
    assert read_bundle(pack(f"{FACTORIES}:labelled")).card.num_labels == 7
    bundle = pack(f"{FACTORIES}:spectral")
    with torch.no_grad():
        expected = factories.spectral().eval()(torch.from_numpy(noise_for_seeds(range(4), 24)))
    assert np.abs(images(bundle) - ((expected + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()).max() <= 1


def test_a_factory_that_draws_is_frozen(pack: Callable[..., Path]) -> None:
    """PyTorch's newer exporter gives a graph here that has a name twice: another export is taken."""
    card = read_bundle(pack(f"{FACTORIES}:stylegan2_that_draws", "--freeze-random", "1")).card
    assert card.origin is not None
    assert len(card.origin.frozen) == 3
    assert card.parity is None, "PyTorch draws other noise"


def test_factories_that_are_none(pack: Callable[..., Path], tmp_path: Path) -> None:
    for name, reason in (
        ("tests.no_such_module:make", "cannot be imported"),
        (f"{FACTORIES}:no_such_function", "cannot be imported"),
        (f"{FACTORIES}:number", "returns int, and an nn.Module is needed"),
    ):
        with pytest.raises(TrainingError, match=reason):
            pack(name)
    torch.save({"other.weight": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(TrainingError, match="these weights are not this generator's"):
        pack(f"{FACTORIES}:dcgan", "--weights", tmp_path / "other.pt")
