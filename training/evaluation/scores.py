"""One score, and everything needed to read it."""

from pydantic import Field

from models.bundle import Score
from training.evaluation.metrics.table import Better


class JudgedScore(Score):
    """A score with its spread and its protocol. A card holds a plain ``Score``."""

    deviation: float | None = Field(description="standard deviation over the repeats, or over the splits of an IS")
    share: float | None = Field(description="(value - floor) / (ceiling - floor): 0 like real images, 1 like noise")
    better: Better = Field(description="real: the nearer to the floor, the better")
    protocol: str

    def for_card(self) -> Score:
        """Returns the fields that a card holds."""
        return Score.model_validate(self.model_dump(include=set(Score.model_fields)))


def share(value: float, real_baseline: float | None, noise_baseline: float | None) -> float | None:
    """Returns where a value lies between real images (0) and noise (1), or None without two different baselines."""
    if real_baseline is None or noise_baseline is None or real_baseline == noise_baseline:
        return None
    return (value - real_baseline) / (noise_baseline - real_baseline)
