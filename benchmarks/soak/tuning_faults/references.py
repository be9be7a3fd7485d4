"""Trains what a study's runs must equal: the same settings and seed in one go, without a study."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.soak.tuning_faults.setting import DIGITS, Setting
from training.data.dataset import load_images
from training.evaluation.judge.train import judge_for
from training.parallel.distributed import Processes
from training.tensor_files import read_tensors
from training.tuning.space.reading import read_space
from training.tuning.study.plan import StudyPlan
from training.tuning.trial.run import TrialContext, TrialPruned, train


@dataclass(frozen=True)
class Reference:
    """The results of one run, from its first to its last step in one process."""

    value: float | None
    """The objective; None if the run ended early."""
    ended: str | None
    scores: dict[str, Any]
    lines: list[str]
    """Of its ``scores.jsonl``."""
    curve: dict[int, float]
    """What it reports: images seen → the objective."""
    images_seen: int
    weights: str


class References:
    """Every run that was compared with so far."""

    def __init__(self, setting: Setting) -> None:
        self._folder = setting.work / "references"
        self._space, errors = read_space(str(setting.space))
        assert not errors, errors
        plan = StudyPlan(self._space, 100, "tpe", prune=True, precision="float32")
        data = load_images(str(DIGITS), plan.base.data)
        self._context = TrialContext(str(DIGITS), data, judge_for(data), Processes(0, 1, torch.device("cpu")))
        self._known: dict[str, Reference] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, settings: Mapping[str, Any], images: int, seed: int | None, budget: int | None) -> Reference:
        """Returns the results of a run of a study of ``images``: a trial, or with a seed a re-run or a final run."""
        key = json.dumps([settings, images, seed, budget], sort_keys=True)
        if key not in self._known:
            self._known[key] = self._train(dict(settings), images, seed, budget)
        return self._known[key]

    def _train(self, settings: dict[str, Any], images: int, seed: int | None, budget: int | None) -> Reference:
        plan = StudyPlan(self._space, images, "tpe", prune=True, precision="float32")
        config = plan.config(settings, seed, budget)
        if settings and seed is None:
            config = config.model_copy(update={"doctor": "stop"})
        path = self._folder / f"{len(self._known):03d}"
        curve: dict[int, float] = {}

        def report(value: float, step: int) -> None:
            curve[step] = value

        value, ended, scores = None, None, {}
        try:
            result = train(path, config, settings, self._context, report, confirm=seed is not None)
            value, scores, seen = result.value, result.scores, result.images_seen
        except TrialPruned as pruned:
            ended, seen = str(pruned), pruned.images_seen
        return Reference(value, ended, scores, score_lines(path), curve, seen, weights_of(path))


def score_lines(run: Path) -> list[str]:
    """Returns the lines of a run's scores; none if it has not been scored."""
    path = run / "scores.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def weights_of(run: Path) -> str:
    """Returns a hash of every bit of a run's best generator; empty if there is none."""
    if not (run / "best.pt").exists():
        return ""
    weights = read_tensors(run / "best.pt")["generator"]
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
