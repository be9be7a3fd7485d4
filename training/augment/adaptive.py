"""The controller of adaptive augmentation: as strong as the discriminator's overfitting demands."""

from collections.abc import Callable

import torch
from torch import Tensor


class AdaptiveProbability:
    """The probability p of augmentation, led so that r = E sign(D(x)) on real images stays at a target.

    Karras et al. 2020, arXiv:2006.06676, section 3.1: r is 0 where the discriminator cannot tell reals from fakes and
    1 where it knows them all, and a p that is too small lets r rise. All of it stays on the device: no step waits.
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

        ``decision_threshold`` is the logit at which the loss's discriminator cannot tell; ``target`` the r to keep,
        in 0 … 1; ``images_to_one`` how many images p takes from 0 to 1 at its fastest; ``max_probability`` where it
        stops, in 0 … 1, since a p near 1 lets the generator learn the augmentations.
        """
        self.probability = torch.zeros((), device=device)
        """A float32 scalar, replaced by ``update`` and never changed in place."""
        self._undecided, self._target = decision_threshold, target
        self._images_to_one, self._max_probability = images_to_one, max_probability
        self._sums = torch.zeros(2, device=device)  # of signs, and how many

    @torch.no_grad()
    def observe(self, real_logits: Tensor, reduce: Callable[[Tensor], Tensor] | None = None) -> None:
        """Takes note of the logits [N] of augmented real images.

        With several processes, ``reduce`` sums a tensor over them, so that each arrives at the same p.
        """
        signs = (real_logits - self._undecided).sign().float().sum()
        noted = torch.stack((signs, torch.full_like(signs, len(real_logits))))
        self._sums += noted if reduce is None else reduce(noted)

    def update(self, images: int) -> None:
        """Moves p by images / images_to_one, up if r since the last update is above the target, else down.

        ``images`` is how many real images all processes have seen since then. Where nothing was observed, p stays.
        """
        signs, count = self._sums.unbind()
        step = (signs - self._target * count).sign() * (images / self._images_to_one)
        self.probability = (self.probability + step).clamp(0, self._max_probability)
        self._sums = torch.zeros_like(self._sums)

    def state_dict(self) -> dict[str, Tensor]:
        """All that decides the next p."""
        return {"probability": self.probability, "sums": self._sums.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Goes on exactly where ``state_dict`` was taken."""
        self.probability = state["probability"].to(self.probability, copy=True)
        self._sums = state["sums"].to(self._sums, copy=True)
