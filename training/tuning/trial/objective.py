"""The objective that a study minimises: the judge's distance, and a penalty for missing coverage."""

from typing import Any

from training.evaluation.in_loop import LoopJudge

DISTANCE, COVERAGE = "fxd", "coverage"
"""The metrics of the objective."""
TARGET_COVERAGE_SHARE = 0.9
"""Share of the coverage of real images; below it there is a penalty."""
COVERAGE_PENALTY = 0.1
"""The penalty per unit of missing coverage, as a share of the distance between real images and noise."""


def objective(scores: dict[str, Any], judge: LoopJudge) -> float:
    """Returns fxd + λ max(0, 0.9 · coverage of real images - coverage), with λ a tenth of ceiling - floor.

    Floor and ceiling are the distances of real images and of noise. ``scores`` is one line of ``scores.jsonl``.
    """
    real, noise = judge.real_baseline, judge.noise_baseline
    missing = max(0.0, TARGET_COVERAGE_SHARE * real[COVERAGE] - scores[COVERAGE])
    return float(scores[DISTANCE] + COVERAGE_PENALTY * (noise[DISTANCE] - real[DISTANCE]) * missing)


def best_of(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the line of the generator that ``best.pt`` holds."""
    return min(lines, key=lambda line: float(line[DISTANCE]))
