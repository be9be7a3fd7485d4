"""Evaluates a generator: every score with its baselines, its spread and its protocol."""

from typing import Literal

import numpy as np
from pydantic import Field
from rich.progress import track

from models.strict import StrictModel
from training.console import console
from training.data.dataset import TrainingImages
from training.errors import TrainingError
from training.evaluation.gather import MetricResults, compute_metrics
from training.evaluation.hidden import Hidden, hidden_from
from training.evaluation.inception.scores import fid_left_out, inception_scores
from training.evaluation.inception.weights import Inception
from training.evaluation.judge.network import FEATURES, Judge, JudgeRecord
from training.evaluation.metrics.table import METRICS, Metric
from training.evaluation.reference import Baselines, Reference
from training.evaluation.scores import JudgedScore, share
from training.evaluation.seeds import TELLING
from training.evaluation.shared.scores import SharedComparison
from training.evaluation.target import EvalTarget, check_labels, generate_batches

SAMPLES = 10_000
REPEATS = 3
MIN_SAMPLES = FEATURES + 1
"""Fewest images whose covariance has full rank."""

NO_JUDGE = "none"
"""The judge of scores that no judge is in."""


class TargetRecord(StrictModel):
    """The generator that was evaluated."""

    name: str
    kind: Literal["run", "bundle"]
    path: str


class DataRecord(StrictModel):
    """The images it was compared with."""

    name: str
    fingerprint: str
    images: int
    held_out: int = Field(description="of these, images that the generator has not seen")


class LabelScore(StrictModel):
    """How well the generator follows a label."""

    label: str
    samples: int
    agreement: float | None = Field(description="share of its images in which the judge sees it; null without images")
    real_agreement: float | None = Field(description="the same for real images that the judge has not seen")


class Evaluation(StrictModel):
    """The content of ``scores.json``."""

    schema_version: Literal[1] = 1
    subject: TargetRecord
    data: DataRecord
    judge_name: str
    judge: JudgeRecord
    seed: int
    samples: int = Field(description="generated images per repeat")
    repeats: int
    floor_samples: int = Field(description="real images behind the floors")
    scores: tuple[JudgedScore, ...]
    left_out: dict[str, str] = Field(description="why a metric has no score, by metric")
    labels: tuple[LabelScore, ...] | None = Field(description="null for a generator without labels")


def evaluate(
    target: EvalTarget,
    data: TrainingImages,
    judge: Judge,
    samples: int = SAMPLES,
    seed: int = TELLING,
    inception: Inception | None = None,
) -> Evaluation:
    """Evaluates a generator on ``REPEATS`` times ``samples`` images, with the seeds from ``seed`` on.

    Values and baselines need equally many images, so no more than half of the data are compared at once. On a CPU the
    same arguments give the same numbers. Raises ``TrainingError`` if the generator, the data and the judge do not fit
    each other, or there are too few images.
    """
    if samples < MIN_SAMPLES:
        raise TrainingError(f"--samples is {samples}; on {FEATURES} features it must be at least {MIN_SAMPLES}")
    check_labels(target, data)
    judge.check_size(target.image.height, target.image.width, target.image.channels)
    hidden = hidden_from(target, data)
    reference = Reference(data, judge, hidden.images)
    samples = min(samples, reference.largest_sample)
    baselines = reference.baselines(f"evaluation-{hidden.images}", samples, lambda: _baselines(reference, samples))
    shared = SharedComparison(reference, samples)
    repeats = [
        compute_metrics(
            shared.watch(generate_batches(target, data, samples, seed + repeat * samples)), samples, reference
        )
        for repeat in track(range(REPEATS), "Judging", console=console, disable=not console.is_terminal)
    ]
    judged = [
        _judged_score(metric, repeats, baselines, reference, samples, seed)
        for metric in METRICS
        if metric.name in repeats[0].scores
    ]
    published = inception_scores(inception, target, data, seed) if inception else []
    left_out = _copies_left_out(hidden, reference) | shared.left_out
    if inception and (reason := fid_left_out(data)):
        left_out["fid"] = reason
    return Evaluation(
        subject=TargetRecord(name=target.name, kind=target.kind, path=str(target.path)),
        data=DataRecord(name=data.name, fingerprint=data.fingerprint, images=len(data), held_out=hidden.images),
        judge_name=judge.name,
        judge=judge.record,
        seed=seed,
        samples=samples,
        repeats=REPEATS,
        floor_samples=baselines.real_samples,
        scores=(*judged, *shared.scores(seed), *published),
        left_out=left_out,
        labels=_label_scores(repeats, baselines, data) if target.label_names else None,
    )


def _baselines(reference: Reference, samples: int) -> Baselines:
    # Only held-out images are no training images, so only they have a distance to these.
    real = compute_metrics(reference.unseen_batches(samples), samples, reference, queries=reference.held_out_features)
    noise = compute_metrics(reference.noise_batches(samples), samples, reference)
    return Baselines(
        real_baseline=real.scores,
        real_samples=samples,
        noise_baseline=noise.scores,
        labelled=tuple(real.labels.requested.tolist()) if real.labels else (),
        recognised=tuple(real.labels.recognised.tolist()) if real.labels else (),
    )


def _judged_score(
    metric: Metric,
    repeats: list[MetricResults],
    baselines: Baselines,
    reference: Reference,
    samples: int,
    seed: int,
) -> JudgedScore:
    values = np.array([repeat.scores[metric.name] for repeat in repeats])
    value = float(values.mean())
    real_baseline, noise_baseline = (
        scores.get(metric.name) for scores in (baselines.real_baseline, baselines.noise_baseline)
    )
    return JudgedScore(
        metric=metric.name,
        value=value,
        judge=reference.judge.name if metric.uses_judge else NO_JUDGE,
        samples=samples,
        floor=real_baseline,
        ceiling=noise_baseline,
        deviation=float(values.std(ddof=1)),
        share=share(value, real_baseline, noise_baseline),
        better=metric.better,
        protocol=f"{metric.protocol.format_map(reference.counts(samples))}; "
        f"mean of {REPEATS} × {samples} images, uint8, seeds from {seed}; "
        f"floor from {baselines.real_samples} real images",
    )


def _copies_left_out(hidden: Hidden, reference: Reference) -> dict[str, str]:
    """Returns why copies cannot be told, for each metric of them; empty if they can."""
    reason = hidden.reason
    if hidden.images and reference.held_out_distances is None:
        reason = "at least half of the images that the generator has not seen are in its training images, too"
    return {metric.name: reason for metric in METRICS if metric.needs == "memorisation"} if reason else {}


def _label_scores(
    repeats: list[MetricResults], baselines: Baselines, data: TrainingImages
) -> tuple[LabelScore, ...] | None:
    """Returns a score per label, or None if the judge has other labels than the data."""
    counts = [repeat.labels for repeat in repeats if repeat.labels]
    if not counts:
        return None
    requested = np.sum([count.requested for count in counts], axis=0)
    recognised = np.sum([count.recognised for count in counts], axis=0)
    return tuple(
        LabelScore(
            label=name,
            samples=int(requested[label]),
            agreement=_ratio(recognised[label], requested[label]),
            real_agreement=_ratio(baselines.recognised[label], baselines.labelled[label]),
        )
        for label, name in enumerate(data.label_names or ())
    )


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
