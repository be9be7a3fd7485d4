"""The judge: a small network, trained once on half of a data set and then frozen, whose features compare images.

Distances compare only if the same weights computed the features. So a judge's name holds the hash of its weights, and
a score names its judge.
"""

import hashlib
import io
import re
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from torch import Tensor, nn

from models.bundle import Sha256
from models.strict import StrictModel
from training.data.pixels import to_range
from training.device import best_device
from training.errors import TrainingError
from training.files import write_atomic
from training.runs.sampling import in_batches
from training.tensor_files import read_tensors

SEMANTIC_DIM, TEXTURE_DIM = 64, 16
"""Dimensions of the semantic features, from the last layer, and of the texture features, from the first.

The last layer alone ignores what its task does not need. For a judge of photographs, the bright plaid of an untrained
generator would be nearer to real images than blurred real images are.
"""

FEATURES = SEMANTIC_DIM + TEXTURE_DIM
"""The dimension of a judge's features. It is small, so that a few thousand images give a reliable covariance."""

ROTATIONS = 4
"""The quarter turns that a judge without labels learns to distinguish (Gidaris et al. 2018)."""

_SMALLEST_SIDE = 4
_WIDTHS = (32, 64, 128)


class JudgeRecord(StrictModel):
    """Describes a judge and the data it was trained on."""

    format: Literal["figment-judge-1"] = "figment-judge-1"
    dataset: str
    fingerprint: Sha256 = Field(description="of the training data")
    resolution: Annotated[int, Field(ge=8, le=1024, description="side of the images, in pixels")]
    channels: Literal[1, 3, 4]
    task: Literal["labels", "rotations"]
    label_names: tuple[str, ...] | None = Field(description="the labels of its outputs; null for quarter turns")
    accuracy: float = Field(ge=0, le=1, description="share of correct predictions on images it has not seen")
    seed: int = Field(ge=0)
    sha256: Sha256 = Field(description="of the weights")


class JudgeNetwork(nn.Module):
    """Convolutions that halve down to 4 × 4, a linear layer of ``SEMANTIC_DIM`` units, and a linear classifier.

    The attributes' names are keys of saved judges, and enter the hash of the weights.
    """

    def __init__(self, resolution: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.textures = _convolution(channels, TEXTURE_DIM, stride=1)
        layers: list[nn.Module] = []
        width, side, depth = TEXTURE_DIM, resolution, 0
        while side > _SMALLEST_SIDE:
            wider = _WIDTHS[min(depth, len(_WIDTHS) - 1)]
            layers.append(_convolution(width, wider, stride=2))
            width, side, depth = wider, -(-side // 2), depth + 1
        self.convolutions = nn.Sequential(*layers)
        self.to_meanings = nn.Linear(width * side * side, SEMANTIC_DIM)
        self.classifier = nn.Linear(SEMANTIC_DIM, outputs)
        self.spread = nn.Buffer(torch.ones(FEATURES))
        """Standard deviations of both kinds of features on the training images; features are divided by them."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps images uint8 [N, H, W, C] to features float [N, FEATURES] and logits float [N, outputs]."""
        textures = self.textures(to_range(images.permute(0, 3, 1, 2)))
        semantics = self.to_meanings(self.convolutions(textures).flatten(1))
        features = torch.cat([semantics, textures.mean(dim=(2, 3))], dim=1)
        return features / self.spread, self.classifier(F.relu(semantics))


class Judge:
    """A frozen judge network and its record."""

    def __init__(self, network: JudgeNetwork, record: JudgeRecord) -> None:
        self.network = network.eval().requires_grad_(False)
        self.record = record

    @property
    def name(self) -> str:
        """``fxd-DATASET-HASH8``, as in scores."""
        dataset = re.sub(r"[^a-z0-9]+", "-", self.record.dataset.lower()).strip("-") or "data"
        return f"fxd-{dataset}-{self.record.sha256[:8]}"

    @torch.no_grad()
    def __call__(self, images: NDArray[np.uint8] | Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Maps images uint8 [N, H, W, C] to features float32 [N, FEATURES] and probabilities float32 [N, outputs].

        Raises ``TrainingError`` for images of another size.
        """
        self.check_size(images.shape[1], images.shape[2], images.shape[3])
        device = next(self.network.parameters()).device
        batch = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))

        def apply(first: int, last: int) -> tuple[Tensor, Tensor]:
            features, logits = self.network(batch[first:last].to(device))
            return features.cpu(), logits.softmax(1).cpu()

        features, probabilities = zip(*in_batches(apply, len(batch), len(batch)), strict=True)
        return torch.cat(features).numpy(), torch.cat(probabilities).numpy()

    def check_size(self, height: int, width: int, channels: int) -> None:
        """Raises ``TrainingError`` unless the judge was trained on images of this size."""
        side, own_channels = self.record.resolution, self.record.channels
        if (height, width, channels) != (side, side, own_channels):
            raise TrainingError(
                f"the judge {self.name} takes images of {side} × {side} × {own_channels} "
                f"(height, width, channels), not of {height} × {width} × {channels}"
            )

    def save(self, path: Path) -> None:
        """Writes the judge as one file, atomically. Raises ``TrainingError`` if it cannot."""
        weights = {name: value.cpu() for name, value in self.network.state_dict().items()}
        content = io.BytesIO()
        torch.save({"record": self.record.model_dump_json(), "weights": weights}, content)
        write_atomic(path, content.getvalue())


def load_judge(path: Path) -> Judge:
    """Loads a judge from a file without running code from it.

    Raises ``TrainingError`` if the file holds no judge, or its weights do not match their hash.
    """
    try:
        content = read_tensors(path)
        record = JudgeRecord.model_validate_json(content["record"])
        outputs = len(record.label_names) if record.label_names else ROTATIONS
        network = JudgeNetwork(record.resolution, record.channels, outputs)
        network.load_state_dict(content["weights"])
    except FileNotFoundError:
        raise TrainingError(f"there is no judge {path}") from None
    except ValidationError as error:
        raise TrainingError(f"{path} is not a readable judge: {error.errors()[0]['msg']}") from error
    except Exception as error:  # the file may hold anything by any name
        raise TrainingError(f"{path} is not a judge; python -m training judge writes one") from error
    if (digest := weights_sha256(network)) != record.sha256:
        raise TrainingError(
            f"{path} was changed: the SHA-256 of its weights is {digest[:12]}…, not {record.sha256[:12]}…"
        )
    return Judge(network.to(best_device()), record)


def weights_sha256(network: nn.Module) -> str:
    """Returns the SHA-256 over the names, types, shapes and bytes of a network's tensors."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        array = value.cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
