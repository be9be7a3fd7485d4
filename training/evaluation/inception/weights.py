"""Loads the Inception network that published FIDs are computed with.

Figment does not ship the weights. ``inception-2015-12-05.pt`` is NVIDIA's TorchScript translation of
the TensorFlow graph of Heusel et al. 2017. Only scores by this network are called FID or Inception Score.
"""

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray

from models.transparency import MID_GREY, lay_over
from training.device import best_device
from training.errors import TrainingError

FEATURES = 2048

ADDRESS = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
"""Of the file at ``ADDRESS``; k-diffusion and others check the same."""

DOWNLOAD = "download"
"""The value of ``--inception`` that downloads the weights."""
_TIMEOUT_SECONDS = 30


class Inception:
    """Inception-v3, frozen. It resizes to 299 × 299 itself, bilinearly, as the protocol asks."""

    name = "inception-2015-12-05"

    def __init__(self, network: torch.jit.ScriptModule, sha256: str) -> None:
        self._device = best_device()
        self._network = network.eval().to(self._device)
        self.sha256 = sha256

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Maps images uint8 [N, H, W, C] to features float32 [N, 2048] of the last pooling layer."""
        return self._call(images, return_features=True)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Maps images uint8 [N, H, W, C] to probabilities float32 [N, classes], without the last layer's bias.

        Salimans et al. 2016 compute the Inception Score without it.
        """
        return self._call(images, no_output_bias=True)

    @torch.no_grad()
    def _call(self, images: NDArray[np.uint8], **options: bool) -> NDArray[np.float32]:
        if images.shape[3] == 4:
            images = lay_over(images, MID_GREY)
        batch = torch.from_numpy(np.array(images.transpose(0, 3, 1, 2), order="C")).to(self._device)
        if batch.shape[1] == 1:
            batch = batch.repeat(1, 3, 1, 1)
        outputs: NDArray[np.float32] = self._network(batch, **options).float().cpu().numpy()
        return outputs


def load_inception(file: str, sha256: str = SHA256) -> Inception:
    """Loads the network from a file, or for ``"download"`` the one that NVIDIA publishes, from the user's cache.

    The file is hashed before any of its code runs. Raises ``TrainingError`` if its hash is not ``sha256``, or the
    network does not behave like Inception.
    """
    path = _download(sha256) if file == DOWNLOAD else Path(file)
    try:
        digest = _sha256(path)
    except OSError as error:
        raise TrainingError(f"cannot read the Inception weights {path} ({error.strerror})") from error
    if digest != sha256:
        raise TrainingError(
            f"{path} is not inception-2015-12-05.pt: its SHA-256 is {digest[:12]}…, not {sha256[:12]}…; "
            "with another network the result is not an FID"
        )
    try:
        network = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"{path} is not a TorchScript network") from error
    inception = Inception(network, digest)
    try:
        blank = np.zeros((2, 32, 32, 3), np.uint8)
        features, probabilities = inception.features(blank), inception.probabilities(blank)
    except (RuntimeError, AttributeError) as error:
        raise TrainingError(
            f"{path} cannot be called as net(images, return_features=True) and net(images, no_output_bias=True)"
        ) from error
    if (
        features.shape != (2, FEATURES)
        or probabilities.ndim != 2
        or not np.allclose(probabilities.sum(1), 1, atol=1e-3)
    ):
        raise TrainingError(
            f"{path} does not behave like Inception: {FEATURES} features an image, and probabilities that add up to 1"
        )
    return inception


def _download(sha256: str) -> Path:
    path = Path(platformdirs.user_cache_dir("figment")) / "inception-2015-12-05.pt"
    if path.is_file() and _sha256(path) == sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(ADDRESS, timeout=_TIMEOUT_SECONDS) as response:
            while chunk := response.read(1 << 20):
                file.write(chunk)
        if _sha256(Path(draft)) != sha256:
            raise TrainingError(f"the file from {ADDRESS} does not have the SHA-256 {sha256[:12]}…")
        Path(draft).replace(path)
    except (urllib.error.URLError, OSError) as error:
        raise TrainingError(
            f"cannot download the Inception weights from {ADDRESS} ({error}); "
            "download the file elsewhere, and pass --inception FILE"
        ) from error
    finally:
        Path(draft).unlink(missing_ok=True)
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
