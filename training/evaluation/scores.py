"""One number, and all that gives it its meaning."""

from typing import Literal

from pydantic import Field

from models.bundle import Score


class JudgedScore(Score):
    """A score with its spread and its protocol; what a card keeps of it is a plain ``Score``."""

    deviation: float | None = Field(description="standard deviation over the repeats, or over the splits of an IS")
    share: float | None = Field(description="(value - floor) / (ceiling - floor): 0 like real images, 1 like noise")
    better: Literal["lower", "higher", "real"] = Field(description="real: the nearer to the floor, the better")
    protocol: str

    def for_card(self) -> Score:
        """As much of it as a card has room for."""
        return Score.model_validate(self.model_dump(include=set(Score.model_fields)))


def share(value: float, floor: float | None, ceiling: float | None) -> float | None:
    """(value - floor) / (ceiling - floor), or None where there is no such scale."""
    if floor is None or ceiling is None or floor == ceiling:
        return None
    return (value - floor) / (ceiling - floor)
