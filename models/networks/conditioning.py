"""How labels and truncation reach a network, where families do it the same way."""

from torch import Tensor, nn


def scaled(noise: Tensor, truncation: Tensor | None) -> Tensor:
    """Noise [N, Z] times truncation [N]: below 1 the images get more typical and less varied; None changes nothing."""
    return noise if truncation is None else noise * truncation.unsqueeze(1)


def needed(label: Tensor | None, player: str) -> Tensor:
    """The label itself. Raises ``ValueError`` if it is missing."""
    if label is None:
        raise ValueError(f"a conditional {player} needs labels")
    return label


class ProjectionHead(nn.Module):
    """Features float [N, F] and label int64 [N] → logits float [N]: ψ·φ(x) + b + v_y·φ(x).

    Miyato and Koyama 2018, arXiv:1802.05637, equation 3; without labels the last term falls away.
    """

    def __init__(self, features: int, labels: int) -> None:
        super().__init__()
        self.to_logit = nn.Linear(features, 1)
        self.embedding = nn.Embedding(labels, features) if labels else None

    def forward(self, features: Tensor, label: Tensor | None) -> Tensor:
        """Raises ``ValueError`` if it was made for labels and gets none."""
        logits: Tensor = self.to_logit(features).squeeze(1)
        if self.embedding is not None:
            logits = logits + (features * self.embedding(needed(label, "discriminator"))).sum(dim=1)
        return logits
