"""A bundle comes back as it was written, or is refused with a sentence that says what does not fit."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.bundle import (
    BundleError,
    Card,
    DatasetRecord,
    ImageSpec,
    Parity,
    Tensor,
    TrainingRecord,
    bundle_folders,
    check_signature,
    expected_inputs,
    expected_outputs,
    next_version,
    read_bundle,
    write_bundle,
)

GRAPH = b"not a graph, but these very bytes"


def make_card(**changes: object) -> Card:
    values = {
        "name": "shapes",
        "version": 1,
        "created": datetime(2026, 1, 1, tzinfo=UTC),
        "architecture": "dcgan",
        "noise_dim": 8,
        "labels": ("round", "square"),
        "image": ImageSpec(height=16, width=16, channels=3),
        "sha256": hashlib.sha256(GRAPH).hexdigest(),
        "opset": 20,
        "precision": "fp32",
        "training": TrainingRecord(
            dataset=DatasetRecord(name="shapes", fingerprint="0" * 64, images=10),
            configuration={"seed": 0},
            seed=0,
            images_seen=100,
            source_revision=None,
        ),
        "parity": Parity(max_difference=0, batch_sizes=(1, 2)),
        "licence": "CC0",
        "intended_use": "tests",
    }
    return Card.model_validate(values | changes)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    card = make_card()
    folder = write_bundle(tmp_path, card, GRAPH, b"png")
    assert folder == tmp_path / "shapes" / "1"
    bundle = read_bundle(folder)
    assert (bundle.card, bundle.onnx) == (card, GRAPH)
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "generator.onnx", "samples.png"]
    assert list(folder.parent.iterdir()) == [folder], "nothing half-written may stay"


def test_versions_count_up_and_never_overwrite(tmp_path: Path) -> None:
    assert next_version(tmp_path, "shapes") == 1
    write_bundle(tmp_path, make_card(version=9), GRAPH, b"")
    write_bundle(tmp_path, make_card(version=10), GRAPH, b"")
    assert next_version(tmp_path, "shapes") == 11
    assert [path.name for path in bundle_folders(tmp_path)] == ["9", "10"], "by number, not by text"
    with pytest.raises(BundleError, match="shapes/9 is there already"):
        write_bundle(tmp_path, make_card(version=9), GRAPH, b"")


def test_a_graph_that_is_not_the_cards_is_not_written(tmp_path: Path) -> None:
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
def test_a_broken_bundle_is_refused(tmp_path: Path, file: str, content: bytes | None, sentence: str) -> None:
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
def test_a_card_that_does_not_fit_is_refused(tmp_path: Path, key: str, value: object, sentence: str) -> None:
    folder = write_bundle(tmp_path, make_card(), GRAPH, b"")
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {key: value}))
    with pytest.raises(BundleError, match=sentence):
        read_bundle(folder)


def test_the_signature_must_be_what_the_card_promises() -> None:
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


def test_a_missing_folder_of_bundles_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a folder of bundles"):
        bundle_folders(tmp_path / "nowhere")
