"""Bundles to publish; nobody runs their graphs."""

import hashlib
from datetime import UTC, datetime

import pytest

from models.bundle import Card, DatasetRecord, ImageSpec, Parity, TrainingRecord, write_bundle


@pytest.fixture
def make_bundle(tmp_path):
    """Returns a function that writes a bundle below a folder of the test, and returns the bundle's folder."""

    def make_bundle(root="made", name="mlp", version=1, producer="a test"):
        graph = b"\x12" + bytes([len(producer)]) + producer.encode()  # an ONNX file of its producer's name alone
        card = Card(
            name=name,
            version=version,
            created=datetime(2026, 1, 1, tzinfo=UTC),
            architecture="mlp",
            noise_dim=16,
            labels=None,
            image=ImageSpec(height=8, width=8, channels=1),
            sha256=hashlib.sha256(graph).hexdigest(),
            opset=20,
            precision="fp32",
            training=TrainingRecord(
                dataset=DatasetRecord(name="none", fingerprint="0" * 64, images=1),
                configuration={},
                seed=0,
                images_seen=0,
                source_revision=None,
            ),
            parity=Parity(max_difference=0, batch_sizes=(1,)),
            licence="none",
            intended_use="tests",
        )
        return write_bundle(tmp_path / root, card, graph, b"samples")

    return make_bundle


@pytest.fixture
def bundle(make_bundle):
    """The folder of ``mlp/1``."""
    return make_bundle()
