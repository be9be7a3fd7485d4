"""How labels and truncation enter a network, for the families that share the method."""

from torch import Tensor, nn

from models.networks.layers.full_precision import full_precision


def truncate_noise(noise: Tensor, truncation: Tensor | None) -> Tensor:
    """Returns noise [N, Z] times truncation [N], or the noise itself for None.

    Below 1 the images are more typical and less varied.
    """
    return noise if truncation is None else noise * truncation.unsqueeze(1)


def require_label(label: Tensor | None, network: str) -> Tensor:
    """Returns the label. Raises ``ValueError`` if it is missing."""
    if label is None:
        raise ValueError(f"a conditional {network} needs labels")
    return label


class ProjectionHead(nn.Module):
    """Features float [N, F] and label int64 [N] → logits float32 [N]: ψ·φ(x) + b + v_y·φ(x).

    Miyato and Koyama 2018, arXiv:1802.05637, equation 3. Without labels there is no last term. Stays in float32 under
    autocast: a logit of 8 in bfloat16 moves in steps of 1/16.
    """

    def __init__(self, features: int, num_labels: int) -> None:
        super().__init__()
        self.to_logit = nn.Linear(features, 1)
        self.embedding = nn.Embedding(num_labels, features) if num_labels else None

    def forward(self, features: Tensor, label: Tensor | None) -> Tensor:
        """Raises ``ValueError`` if the head is conditional and gets no label."""
        features = features.float()
        with full_precision(features):
            logits: Tensor = self.to_logit(features).squeeze(1)
        if self.embedding is not None:
            logits = logits + (features * self.embedding(require_label(label, "discriminator"))).sum(dim=1)
        return logits
