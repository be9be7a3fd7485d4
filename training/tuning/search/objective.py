"""What a study minimises: the judge's distance, and a price for what is never drawn."""

from typing import Any

from training.evaluation.in_loop import LoopJudge

COVERED_ENOUGH = 0.9
"""Of the coverage that real images reach; below it there is a price."""
PRICE = 0.1
"""Of a coverage of 0, as a share of the distance between real images and noise."""


def objective(scores: dict[str, Any], judge: LoopJudge) -> float:
    """The value fxd + λ max(0, 0.9 · coverage of real images - coverage), λ a tenth of ceiling - floor.

    Distance and coverage are those of one scoring, as in ``scores.jsonl``.
    """
    missing = max(0.0, COVERED_ENOUGH * judge.floor_coverage - scores["coverage"])
    return float(scores["fxd"] + PRICE * (judge.ceiling - judge.floor) * missing)


def best_of(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Of several scorings the one whose generator ``best.pt`` holds."""
    return min(lines, key=lambda line: float(line["fxd"]))
