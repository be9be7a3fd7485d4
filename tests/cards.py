"""A bundle's card with a value for everything that a test does not care about."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from models.bundle import Card, DatasetRecord, ImageSpec, Parity, TrainingRecord


def make_card(onnx: bytes, **changes: object) -> Card:
    """Returns the card of an unconditional generator ``mlp/1`` of this graph; ``changes`` replace its fields."""
    values: dict[str, Any] = {
        "name": "mlp",
        "version": 1,
        "created": datetime(2026, 1, 1, tzinfo=UTC),
        "architecture": "test",
        "noise_dim": 16,
        "labels": None,
        "image": ImageSpec(height=8, width=8, channels=1),
        "sha256": hashlib.sha256(onnx).hexdigest(),
        "opset": 17,
        "precision": "fp32",
        "training": TrainingRecord(
            dataset=DatasetRecord(name="none", fingerprint="0" * 64, images=1),
            configuration={},
            seed=0,
            images_seen=0,
            source_revision=None,
        ),
        "parity": Parity(max_difference=0, batch_sizes=(1,)),
        "licence": "none",
        "intended_use": "tests",
    }
    return Card.model_validate(values | changes)
