"""The role of each input follows from its name, type and sizes; what does not follow is asked."""

import pytest

from training.errors import TrainingError
from training.packing.graph import Value
from training.packing.inputs import Inputs, find_inputs
from training.packing.options import PackOptions

N = None
Z = Value("z", "float32", (N, 64))


def roles(*inputs: Value, **options: object) -> Inputs:
    return find_inputs(inputs, PackOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "own", "has_batch", "batch"),
    [
        ((N, 64), (64,), True, None),
        ((N, 64, 1, 1), (64, 1, 1), True, None),
        ((1, 64), (64,), True, 1),
        ((16, 64, 1, 1), (64, 1, 1), True, 16),
        ((64,), (64,), False, 1),
        ((N, 64, N, N), (64, 1, 1), True, None),
    ],
)
@pytest.mark.parametrize("name", ["z", "noise", "input.1", "onnx::Gemm_0", "serving_default_input:0"])
def test_noise_has_any_name_and_these_sizes(
    shape: tuple[int | None, ...], own: tuple[int, ...], has_batch: bool, batch: int | None, name: str
) -> None:
    found = roles(Value(name, "float32", shape))
    assert (found.noise.name, found.noise.shape, found.noise.has_batch) == (name, own, has_batch)
    assert (found.noise.size, found.batch, found.label, found.truncation) == (64, batch, None, None)


@pytest.mark.parametrize(
    ("label", "form", "shape", "count"),
    [
        (Value("labels", "int64", (N,)), "index", (), None),
        (Value("y", "int64", (1,)), "index", (), None),
        (Value("input_2", "int32", (N, 1)), "index", (1,), None),
        (Value("x", "int64", ()), "index", (), None),
        (Value("onehot", "float32", (N, 10)), "one-hot", (10,), 10),
        (Value("class_label", "float16", (N, 10)), "one-hot", (10,), 10),
        (Value("one_hot", "bool", (N, 10)), "one-hot", (10,), 10),
        (Value("c", "float32", (N, 10)), "one-hot", (10,), 10),
        (Value("conditionLabels", "float32", (N, 1)), "index", (1,), None),
    ],
)
def test_labels_are_whole_numbers_or_named(label: Value, form: str, shape: tuple[int, ...], count: int | None) -> None:
    for inputs in ((Z, label), (label, Z)):
        found = roles(*inputs)
        assert found.noise.name == "z"
        assert found.label is not None
        assert (found.label.name, found.label.form) == (label.name, form)
        assert (found.label.shape, found.label.count) == (shape, count)


def test_a_float_that_the_graph_makes_whole_is_a_label() -> None:
    """Keras takes labels as float32 [N,1], and casts them before the embedding."""
    found = find_inputs((Z, Value("input_2", "float32", (N, 1))), PackOptions(), frozenset({"input_2"}))
    assert found.label is not None
    assert found.label.form == "index"


@pytest.mark.parametrize("shape", [(), (1,), (N,), (N, 1)])
@pytest.mark.parametrize("name", ["truncation_psi", "psi", "truncation"])
def test_truncation_is_named(shape: tuple[int | None, ...], name: str) -> None:
    found = roles(Z, Value(name, "float32", shape))
    assert found.truncation is not None
    assert (found.truncation.rank, found.truncation.has_batch) == (len(shape), N in shape)


def test_stylegans_noise_inputs() -> None:
    sizes = [(1, 1, 4, 4), (N, 1, 8, 8)]
    for names in (("noise_0", "noise_1"), ("input.3", "input.5")):
        layers = [Value(name, "float32", shape) for name, shape in zip(names, sizes, strict=True)]
        found = roles(Z, *layers)
        assert [(layer.name, layer.count, layer.height) for layer in found.layer_noise] == [
            (names[0], 1, 4),
            (names[1], None, 8),
        ]


def test_a_mask_is_no_noise_unless_the_user_says_so() -> None:
    mask = Value("mask", "float32", (N, 1, 32, 32))
    with pytest.raises(TrainingError, match=r"inputs without a role: mask float32 \[N, 1, 32, 32\]; the noise is z"):
        roles(Z, mask)
    assert roles(Z, mask, freeze_random=0).layer_noise[0].name == "mask"


def test_names_settle_what_sizes_do_not() -> None:
    one, other = Value("a", "float32", (N, 64)), Value("b", "float32", (N, 10))
    with pytest.raises(TrainingError, match="2 inputs that may be the noise"):
        roles(one, other)
    found = roles(one, other, noise="a", label="b")
    assert found.label is not None
    assert (found.noise.name, found.label.count) == ("a", 10)


def test_an_open_size_is_asked() -> None:
    value = Value("z", "float32", (N, N))
    with pytest.raises(TrainingError, match="--noise-shape"):
        roles(value)
    assert roles(value, noise_shape=(64,)).noise.size == 64
