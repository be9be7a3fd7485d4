"""A bundle reads back as it was written, or is rejected with a sentence that names the mismatch."""

import errno
import json
import os
from pathlib import Path

import pytest

from models.bundle import (
    BundleError,
    BundleUnreadableError,
    Card,
    ImageSpec,
    Tensor,
    check_signature,
    expected_inputs,
    expected_outputs,
    next_version,
    read_bundle,
    write_bundle,
)
from tests import cards

TEXT = b"not a graph, but these very bytes"
GRAPH = b"\x12" + bytes([len(TEXT)]) + TEXT
"""Protobuf: a model that holds its producer's name alone."""


def make_card(**changes: object) -> Card:
    """Returns the card of a generator with labels, ``shapes/1``."""
    image = ImageSpec(height=16, width=16, channels=3)
    fields = {"name": "shapes", "noise_dim": 8, "labels": ("round", "square"), "image": image}
    return cards.make_card(GRAPH, **fields | changes)


def test_a_bundle_reads_back_as_written(tmp_path: Path) -> None:
    card = make_card()
    folder = write_bundle(tmp_path, card, GRAPH, b"png")
    assert folder == tmp_path / "shapes" / "1"
    bundle = read_bundle(folder)
    assert (bundle.card, bundle.onnx) == (card, GRAPH)
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "generator.onnx", "samples.png"]
    assert list(folder.parent.iterdir()) == [folder], "no partial file may stay"


def test_versions_count_up_and_never_overwrite(tmp_path: Path) -> None:
    assert next_version(tmp_path, "shapes") == 1
    write_bundle(tmp_path, make_card(version=9), GRAPH, b"")
    write_bundle(tmp_path, make_card(version=10), GRAPH, b"")
    assert next_version(tmp_path, "shapes") == 11
    with pytest.raises(BundleError, match="shapes/9 exists already"):
        write_bundle(tmp_path, make_card(version=9), GRAPH, b"")


def test_a_graph_without_the_cards_hash_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="SHA-256"):
        write_bundle(tmp_path, make_card(), b"other", b"")
    assert not (tmp_path / "shapes").exists()


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("generator.onnx", GRAPH[:-1] + b"X", "shapes/1: generator.onnx has been changed"),
        ("generator.onnx", None, "shapes/1: cannot read generator.onnx"),
        ("card.json", None, "shapes/1: cannot read card.json"),
        ("card.json", b"{", "shapes/1: card.json is not a valid card"),
    ],
)
def test_a_broken_bundle_is_rejected(tmp_path: Path, file: str, content: bytes | None, sentence: str) -> None:
    folder = write_bundle(tmp_path, make_card(), GRAPH, b"")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(BundleError, match=sentence):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("schema_version", 2, "schema_version"),
        ("surprise", 1, "surprise"),
        ("labels", [], "labels"),
        ("noise_dim", 0, "noise_dim"),
        ("name", "other", "its card says other/1"),
        ("version", 2, "its card says shapes/2"),
    ],
)
def test_an_invalid_card_is_rejected(tmp_path: Path, key: str, value: object, sentence: str) -> None:
    folder = write_bundle(tmp_path, make_card(), GRAPH, b"")
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {key: value}))
    with pytest.raises(BundleError, match=sentence):
        read_bundle(folder)


def test_the_signature_must_fit_the_card() -> None:
    card = make_card()
    inputs, outputs = expected_inputs(card), expected_outputs(card)
    check_signature(card, reversed(inputs), outputs)
    check_signature(card, [Tensor(t.name, t.dtype, ("batch", *t.shape[1:])) for t in inputs], outputs)
    with pytest.raises(BundleError, match=r"the inputs .* label int64 \[N\]"):
        check_signature(card, inputs[:1] + inputs[2:], outputs)
    with pytest.raises(BundleError, match=r"the inputs .*noise float32 \[N, 9\]"):
        check_signature(card, [Tensor("noise", "float32", ("N", 9)), *inputs[1:]], outputs)
    with pytest.raises(BundleError, match=r"the inputs .*noise float32 \[1, 8\]"):
        check_signature(card, [Tensor("noise", "float32", (1, 8)), *inputs[1:]], outputs)
    with pytest.raises(BundleError, match="the outputs"):
        check_signature(card, inputs, [Tensor("images", "float32", ("N", 16, 16, 3))])


@pytest.mark.parametrize(
    ("number", "named"), [(errno.EACCES, "card.json"), (errno.EMFILE, "card.json"), (errno.EIO, None)]
)
def test_an_unreadable_bundle_differs_from_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, named: str | None
) -> None:
    folder = write_bundle(tmp_path, make_card(), GRAPH, b"")

    def stat(path: Path, **_: object) -> os.stat_result:
        raise OSError(number, os.strerror(number), str(folder / named) if named else None)

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(BundleUnreadableError, match=f"shapes/1: cannot read {named or 'its files'}"):
        read_bundle(folder)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_rgb_and_rgba_images_are_known(tmp_path: Path, channels: int) -> None:
    card = make_card(image={"height": 16, "width": 16, "channels": channels})
    read = read_bundle(write_bundle(tmp_path, card, GRAPH, b"")).card
    assert read.image.channels == channels
    assert str(expected_outputs(read)[0]) == f"images uint8 [N, 16, 16, {channels}]"
    with pytest.raises(BundleError, match="the outputs"):
        check_signature(read, expected_inputs(read), [Tensor("images", "uint8", ("N", 16, 16, 5 - channels))])


@pytest.mark.parametrize("channels", [0, 2, 5, "RGBA"])
def test_other_numbers_of_channels_are_rejected(channels: object) -> None:
    with pytest.raises(ValueError, match="channels"):
        make_card(image={"height": 16, "width": 16, "channels": channels})


def test_an_unconditional_generator_has_zero_labels() -> None:
    assert make_card().num_labels == 2
    assert make_card(labels=None).num_labels == 0
    assert "num_labels" not in make_card().model_dump(), "a card's fields are a contract"
