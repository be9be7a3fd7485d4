"""Regularisation of a generator with styles: style mixing, and path-length regularisation beside its formula.

Styles are the w of each layer, float32 [N, W], from coarse to fine (see ``models.networks.stylegan2.Generator``).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

PATH_LENGTH_INTERVAL = 4
"""Generator steps from one path-length penalty to the next (Karras et al. 2020, arXiv:1912.04958, appendix B)."""

PATH_LENGTH_BATCH_SHRINK = 2
"""Only every second image of a batch takes part, since the penalty's memory exceeds a step's (the same)."""

PATH_LENGTH_DECAY = 0.01
"""Share of the target length that each penalty replaces (the authors' code)."""


def mix_styles(w: Tensor, other: Tensor, crossover: Tensor, num_styles: int) -> list[Tensor]:
    """Returns the w of each layer: ``w`` before an image's crossover, ``other`` from there on, both float [N, W].

    ``crossover`` int64 [N] is the first layer with the other style, 1 … ``num_styles``; the last means none. So
    neighbouring layers learn not to rely on each other's style (mixing regularisation, Karras et al. 2019,
    arXiv:1812.04948, section 3.1).
    """
    return [torch.where((layer < crossover).unsqueeze(1), w, other) for layer in range(num_styles)]


def path_lengths(images: Tensor, styles: Sequence[Tensor], noise: Tensor) -> Tensor:
    """Returns ‖J_wᵀ y‖₂ of every image, float32 [N], differentiable by the generator's weights.

    Karras et al. 2020, arXiv:1912.04958, equation 4. J_w is the derivative of ``images`` float32 [N, C, H, W] by
    ``styles``, and y is ``noise`` (standard normal, shaped like the images) over √(H W), so that lengths of different
    resolutions compare. As in the authors' code, the square of a length is the mean over the layers of ‖J_lᵀ y‖². The
    styles must be tensors of their own, from which the images were computed.
    """
    directions = noise / math.sqrt(images.shape[2] * images.shape[3])
    gradients = torch.autograd.grad((images * directions).sum(), styles, create_graph=True)
    # The square root's derivative at 0 is infinite: a gradient of 0 would make every weight NaN.
    return (torch.stack(gradients).square().sum(2).mean(0) + 1e-12).sqrt()


class PathLength:
    """The target a of the penalty E (‖J_wᵀ y‖₂ - a)²: a long moving average of the lengths, which starts at 0."""

    def __init__(self, device: torch.device) -> None:
        self.target = torch.zeros((), device=device)
        """A float32 scalar. ``update`` replaces it and never changes it in place."""

    def update(self, mean_length: Tensor, share: float = 1) -> None:
        """Moves the target towards a mean length, a scalar that must be the same in all processes.

        The mean is that of a ``share`` of the batch, if the batch is computed in parts.
        """
        self.target = torch.lerp(self.target, mean_length.detach(), PATH_LENGTH_DECAY * share)

    def penalty(self, lengths: Tensor) -> Tensor:
        """Returns E (‖J_wᵀ y‖₂ - a)² for lengths [N]; no gradient reaches a."""
        return (lengths - self.target).square().mean()

    def state_dict(self) -> dict[str, Tensor]:
        """Returns everything that decides the next penalty."""
        return {"target": self.target}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores the state that ``state_dict`` returned."""
        self.target = state["target"].to(self.target, copy=True)
