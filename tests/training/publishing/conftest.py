"""Bundles to publish; nobody runs their graphs."""

import pytest

from models.bundle import write_bundle
from tests.cards import make_card


@pytest.fixture
def make_bundle(tmp_path):
    """Returns a function that writes a bundle below a folder of the test, and returns the bundle's folder."""

    def make_bundle(root="made", name="mlp", version=1, producer="a test"):
        graph = b"\x12" + bytes([len(producer)]) + producer.encode()  # an ONNX file of its producer's name alone
        return write_bundle(tmp_path / root, make_card(graph, name=name, version=version), graph, b"samples")

    return make_bundle


@pytest.fixture
def bundle(make_bundle):
    """The folder of ``mlp/1``."""
    return make_bundle()
