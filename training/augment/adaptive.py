"""The controller of adaptive augmentation: raises its probability as the discriminator overfits."""

from collections.abc import Callable

import torch
from torch import Tensor


class AdaptiveProbability:
    """Controls the probability p of augmentation so that r = E sign(D(x)) on real images stays at a target.

    Karras et al. 2020, arXiv:2006.06676, section 3.1: r is 0 if the discriminator cannot tell reals from fakes, and 1
    if it recognises every real. If p is too small, r rises. All values stay on the device, so no step waits for it.
    """

    def __init__(
        self,
        decision_threshold: float,
        device: torch.device,
        target: float = 0.6,
        images_to_one: int = 500_000,
        max_probability: float = 0.8,
    ) -> None:
        """Starts at p = 0.

        ``decision_threshold`` is the logit at which the discriminator cannot tell. ``target`` is the r to keep, in
        0 … 1. ``images_to_one`` is the number of images in which p can go from 0 to 1. ``max_probability`` is the
        limit of p, in 0 … 1: near 1 the generator learns to generate augmented images.
        """
        self.probability = torch.zeros((), device=device)
        """A float32 scalar. ``update`` replaces it and never changes it in place."""
        self._decision_threshold, self._target = decision_threshold, target
        self._images_to_one, self._max_probability = images_to_one, max_probability
        self._sums = torch.zeros(2, device=device)  # sum of the signs, number of the signs

    @torch.no_grad()
    def observe(self, real_logits: Tensor, reduce: Callable[[Tensor], Tensor] | None = None) -> None:
        """Counts the signs of the logits [N] of augmented real images.

        With several processes, ``reduce`` sums a tensor over them, so that all compute the same p.
        """
        signs = (real_logits - self._decision_threshold).sign().float().sum()
        sums = torch.stack((signs, torch.full_like(signs, len(real_logits))))
        self._sums += sums if reduce is None else reduce(sums)

    def update(self, images: int) -> None:
        """Raises p by images / images_to_one if r since the last update is above the target, else lowers it.

        ``images`` is the number of real images that all processes have seen since then. Without observations p stays.
        """
        signs, count = self._sums.unbind()
        step = (signs - self._target * count).sign() * (images / self._images_to_one)
        self.probability = (self.probability + step).clamp(0, self._max_probability)
        self._sums = torch.zeros_like(self._sums)

    def state_dict(self) -> dict[str, Tensor]:
        """Returns everything that decides the next p."""
        return {"probability": self.probability, "sums": self._sums.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores the state that ``state_dict`` returned."""
        self.probability = state["probability"].to(self.probability, copy=True)
        self._sums = state["sums"].to(self._sums, copy=True)
