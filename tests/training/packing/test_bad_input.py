"""A file that is no generator ends with one sentence that says why and what to do, and nothing is written."""

import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from tests.training.packing.graphs import FLOAT, INT64, generator, model, saved
from training.errors import TrainingError

Train = Callable[..., None]


@pytest.fixture
def rejected(train: Train, tmp_path: Path) -> Callable[..., str]:
    """Returns a function that packs a graph or a file, and returns the sentence that rejects it."""

    def pack(file: onnx.ModelProto | Path | str, *options: str) -> str:
        path = saved(file, tmp_path) if isinstance(file, onnx.ModelProto) else file
        with pytest.raises(TrainingError) as caught:
            train("pack", path, "--to", tmp_path / "zoo", "--name", "x", *options)
        assert not (tmp_path / "zoo").exists()
        return str(caught.value)

    return pack


class Malicious:
    """An object whose pickle makes a folder when it is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def malicious(tmp_path: Path) -> Iterator[Malicious]:
    """Returns such an object, and fails the test if its code has run."""
    yield Malicious(tmp_path / "executed")
    assert not (tmp_path / "executed").exists()


def test_an_image_to_image_network(rejected: Callable[..., str]) -> None:
    nodes = [helper.make_node("Tanh", ["photo"], ["image"])]
    network = model(nodes, {"photo": (FLOAT, ["N", 3, 32, 32])}, {"image": ["N", 3, 32, 32]}, {})
    assert "it takes images, as a classifier" in rejected(network)


def test_a_text_model(rejected: Callable[..., str]) -> None:
    nodes = [helper.make_node("Gather", ["embedding", "input_ids"], ["hidden"])]
    inputs = {"input_ids": (INT64, ["N", "length"]), "attention_mask": (INT64, ["N", "length"])}
    network = model(nodes, inputs, {"hidden": ["N", "length", 4]}, {"embedding": np.zeros((5, 4), np.float32)})
    assert "whole numbers only, as a text model does" in rejected(network)


def test_two_possible_noise_inputs(rejected: Callable[..., str]) -> None:
    network = generator("z1")
    network.graph.input.append(helper.make_tensor_value_info("z2", FLOAT, ["N", 8]))
    network.graph.node.insert(0, helper.make_node("Add", ["z1", "z2"], ["both"]))
    network.graph.node[1].input[0] = "both"
    sentence = rejected(network)
    assert "2 inputs that may be the noise: z1 float32 [N, 8]; z2 float32 [N, 8]" in sentence
    assert "--noise NAME" in sentence


def test_outputs_of_two_sizes_need_a_choice(rejected: Callable[..., str], train: Train, tmp_path: Path) -> None:
    network = generator()
    network.graph.node.append(helper.make_node("Concat", ["image", "image"], ["large"], axis=3))
    network.graph.output.append(helper.make_tensor_value_info("large", FLOAT, ["N", 3, 4, 8]))
    sentence = rejected(network)
    assert "2 outputs are images: image float32 [5, 3, 4, 4]; large float32 [5, 3, 4, 8]" in sentence
    train("pack", saved(network, tmp_path), "--to", tmp_path / "zoo", "--name", "x", "--output", "large")
    assert (tmp_path / "zoo/x/1/generator.onnx").is_file()


def test_an_output_that_is_no_image(rejected: Callable[..., str]) -> None:
    nodes = [helper.make_node("MatMul", ["z", "w"], ["logits"])]
    network = model(nodes, {"z": (FLOAT, ["N", 8])}, {"logits": ["N", 7]}, {"w": np.ones((8, 7), np.float32)})
    assert "no output of the graph is an image: logits float32 [5, 7]" in rejected(network)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_images_that_are_no_numbers(rejected: Callable[..., str], bad: float) -> None:
    """As uint8 they would pass for black."""
    network = generator(tail=None)
    weights = onnx.numpy_helper.to_array(network.graph.initializer[0]).copy()
    weights[0, 0] = bad
    network.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "w"))
    assert "contain NaN or Inf" in rejected(network)


def test_random_operators_are_named(rejected: Callable[..., str]) -> None:
    network = generator()
    network.graph.node.insert(0, helper.make_node("RandomNormalLike", ["z"], ["drawn"], "block_3/noise"))
    network.graph.node.insert(1, helper.make_node("Add", ["z", "drawn"], ["moved"]))
    network.graph.node[2].input[0] = "moved"
    sentence = rejected(network)
    assert "block_3/noise (RandomNormalLike)" in sentence
    assert "--freeze-random SEED" in sentence


def test_dropout_in_training_mode_cannot_be_frozen(rejected: Callable[..., str]) -> None:
    network = generator()
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "on"))
    network.graph.node.insert(0, helper.make_node("Dropout", ["z", "", "on"], ["dropped"], "drop"))
    network.graph.node[1].input[0] = "dropped"
    assert "drop (Dropout)" in rejected(network)
    assert "call eval()" in rejected(network, "--freeze-random", "1")


def test_images_that_depend_on_their_neighbours(rejected: Callable[..., str]) -> None:
    """Batch statistics, as batch normalisation in training mode takes them."""
    network = generator()
    network.graph.node.insert(0, helper.make_node("ReduceMean", ["z"], ["mean"], axes=[0], keepdims=1))
    network.graph.node.insert(1, helper.make_node("Sub", ["z", "mean"], ["centred"]))
    network.graph.node[2].input[0] = "centred"
    sentence = rejected(network)
    assert "an image differs from the same image alone" in sentence
    assert "eval()" in sentence


def test_batch_normalisation_in_training_mode(rejected: Callable[..., str], tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(8, 48), torch.nn.BatchNorm1d(48), torch.nn.Unflatten(1, (3, 4, 4)))
    training = torch.onnx.TrainingMode.TRAINING
    torch.onnx.export(
        module, (torch.randn(4, 8),), tmp_path / "g.onnx", dynamo=False, training=training, opset_version=17
    )
    assert "batch normalisation is in training mode" in rejected(tmp_path / "g.onnx")


def external(folder: Path, location: str) -> Path:
    path = saved(generator(), folder)
    graph = onnx.load(path)
    tensor = graph.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path.write_bytes(graph.SerializeToString())
    return path


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "inside/../../secret", "link"])
def test_external_data_outside_the_folder(rejected: Callable[..., str], tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(4 * 8 * 48))
    folder = tmp_path / "file"
    (folder / "inside").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "secret")
    sentence = rejected(external(folder, location))
    assert f"{location!r}, outside its folder" in sentence


def test_external_data_that_is_missing(rejected: Callable[..., str], tmp_path: Path) -> None:
    assert "'weights.bin', which is not there" in rejected(external(tmp_path, "weights.bin"))


@pytest.mark.parametrize("save", [pickle.dumps, None], ids=["pickle", "torch.save"])
def test_a_pickle_is_never_opened(
    rejected: Callable[..., str], tmp_path: Path, malicious: Malicious, save: Any
) -> None:
    path = tmp_path / "generator.pt"
    if save:
        path.write_bytes(save(malicious))
    else:
        torch.save(malicious, path)
    sentence = rejected(path)
    assert "is a pickle" in sentence
    assert "can run any code" in sentence
    assert "--weights" in sentence


def test_weights_with_code_are_never_executed(
    rejected: Callable[..., str], tmp_path: Path, malicious: Malicious
) -> None:
    torch.save({"weight": malicious}, tmp_path / "weights.pt")
    factory = "tests.training.packing.factories:dcgan"
    sentence = rejected(factory, "--weights", str(tmp_path / "weights.pt"))
    assert "never unpickled" in sentence
    assert "state_dict()" in sentence


@pytest.mark.parametrize("member", ["sample_inputs/model.pt", "constants/opaque_obj_0"])
def test_a_program_with_a_pickle_inside_is_never_executed(
    rejected: Callable[..., str], tmp_path: Path, malicious: Malicious, member: str
) -> None:
    """Reading a program falls back to pickles by itself."""
    module = torch.nn.Sequential(torch.nn.Linear(8, 48), torch.nn.Unflatten(1, (3, 4, 4)))
    torch.export.save(torch.export.export(module, (torch.randn(2, 8),)), tmp_path / "good.pt2")
    torch.save(({"x": malicious},), tmp_path / "evil")
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as bad:
        root = good.namelist()[0].partition("/")[0]
        for entry in good.infolist():
            if not entry.filename.endswith(member):
                bad.writestr(entry.filename, good.read(entry.filename))
        bad.writestr(f"{root}/data/{member}", (tmp_path / "evil").read_bytes())
    sentence = rejected(tmp_path / "bad.pt2")
    assert "never run" in sentence


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"no model", "is no ONNX file"),
        (b"\x89HDF\r\n\x1a\n", "Keras"),
        (b"PK\x03\x04 torn", "damaged archive"),
    ],
)
def test_other_files(rejected: Callable[..., str], tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "file.bin").write_bytes(content)
    assert reason in rejected(tmp_path / "file.bin")


def test_a_file_that_is_not_there_and_a_folder(rejected: Callable[..., str], tmp_path: Path) -> None:
    assert "nothing.onnx is not there" in rejected(tmp_path / "nothing.onnx")
    assert "is a folder" in rejected(tmp_path)


@pytest.mark.parametrize("name", ["", "Faces", "a/b", "../a", "a b", "a" * 65])
def test_names_that_are_no_bundle_names(train: Train, tmp_path: Path, name: str) -> None:
    with pytest.raises(TrainingError, match="is no name for a generator"):
        train("pack", saved(generator(), tmp_path), "--to", tmp_path / "zoo", "--name", name)


def test_an_opset_that_is_too_old(rejected: Callable[..., str]) -> None:
    network = generator()
    network.opset_import[0].version = 8
    assert "opset 8, and 9 or newer is needed" in rejected(network)


def test_options_that_do_not_fit_the_graph(rejected: Callable[..., str]) -> None:
    assert "--noise is 'y'; the inputs of the graph are z float32 [N, 8]" in rejected(generator(), "--noise", "y")
    assert "--output is 'y'; the outputs of the graph are image" in rejected(generator(), "--output", "y")
    assert "no label input" in rejected(generator(), "--labels", "10")
    assert "--noise-shape is '8,8'" in rejected(generator(), "--noise-shape", "8,8")
    assert "names must be there, and differ" in rejected(generator(), "--labels", "cat,cat")
    assert "--weights belongs to" in rejected(generator(), "--weights", "weights.pt")


def test_an_unknown_operator(rejected: Callable[..., str]) -> None:
    network = generator(tail="Mystery")
    assert "ONNX Runtime cannot open the graph" in rejected(network)


def test_a_fixed_batch_whose_images_depend_on_each_other(rejected: Callable[..., str]) -> None:
    """Its size is its only one, and even there an image must not depend on the others."""
    network = generator(sizes=[4, 8])
    network.graph.node.insert(0, helper.make_node("ReduceMean", ["z"], ["mean"], axes=[0], keepdims=1))
    network.graph.node.insert(1, helper.make_node("Sub", ["z", "mean"], ["centred"]))
    network.graph.node[2].input[0] = "centred"
    assert "in a batch of 4, an image differs from the same image alone" in rejected(network)
