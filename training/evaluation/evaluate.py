"""The whole judgement of a generator: every score with its floor, its ceiling, its spread and its protocol."""

from typing import Literal

import numpy as np
from pydantic import Field
from rich.progress import track

from models.strict import StrictModel
from training.console import console
from training.data.dataset import TrainingImages
from training.errors import TrainingError
from training.evaluation.compute import METRICS, MetricResults, compute_metrics
from training.evaluation.inception.scores import inception_scores
from training.evaluation.inception.weights import Inception
from training.evaluation.judge.network import FEATURES, Judge, JudgeRecord
from training.evaluation.reference import Bounds, Reference
from training.evaluation.scores import JudgedScore, share
from training.evaluation.target import EvalTarget, check_fit, generated

SAMPLES = 10_000
REPEATS = 3
FEWEST = FEATURES + 1
"""The least number of images whose covariance has full rank."""

NO_JUDGE = "none"


class TargetRecord(StrictModel):
    """What was judged."""

    name: str
    kind: Literal["run", "bundle"]
    path: str


class DataRecord(StrictModel):
    """What it was compared with."""

    name: str
    fingerprint: str
    images: int


class LabelScore(StrictModel):
    """How well a label is obeyed."""

    label: str
    samples: int
    agreement: float | None = Field(description="share of its images in which the judge sees it; null without images")
    real_agreement: float | None = Field(description="the same for real images that the judge has not seen")


class Evaluation(StrictModel):
    """What ``scores.json`` holds."""

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
    labels: tuple[LabelScore, ...] | None = Field(description="null where no labels steer the generator")


def evaluate(
    subject: EvalTarget,
    data: TrainingImages,
    judge: Judge,
    samples: int = SAMPLES,
    seed: int = 0,
    inception: Inception | None = None,
) -> Evaluation:
    """Judges a generator by ``REPEATS`` times ``samples`` images of the seeds from ``seed`` on.

    The same arguments give the same numbers on a CPU. Raises ``TrainingError`` where the generator, the data and the
    judge do not fit each other, or there are too few images.
    """
    if samples < FEWEST:
        raise TrainingError(f"--samples is {samples}; on {FEATURES} features it must be at least {FEWEST}")
    check_fit(subject, data)
    judge.check_size(subject.image.height, subject.image.width, subject.image.channels)
    reference = Reference(data, judge)
    bounds = reference.bounds("bounds", samples, lambda: _bounds(reference, samples))
    repeats = [
        compute_metrics(generated(subject, data, samples, seed + repeat * samples), samples, reference)
        for repeat in track(range(REPEATS), "Judging", console=console, disable=not console.is_terminal)
    ]
    own = [_judged(metric, repeats, bounds, judge, samples, seed) for metric in METRICS if metric in repeats[0].scores]
    published = inception_scores(inception, subject, data, seed) if inception else []
    return Evaluation(
        subject=TargetRecord(name=subject.name, kind=subject.kind, path=str(subject.path)),
        data=DataRecord(name=data.name, fingerprint=data.fingerprint, images=len(data)),
        judge_name=judge.name,
        judge=judge.record,
        seed=seed,
        samples=samples,
        repeats=REPEATS,
        floor_samples=bounds.floor_samples,
        scores=(*own, *published),
        labels=_labels(repeats, bounds, data) if subject.label_names else None,
    )


def _bounds(reference: Reference, samples: int) -> Bounds:
    available = min(samples, reference.held_out)
    real = compute_metrics(reference.held_out_batches(available), available, reference)
    noise = compute_metrics(reference.noise_batches(samples), samples, reference)
    return Bounds(
        floor=real.scores,
        floor_samples=available,
        ceiling=noise.scores,
        asked=tuple(real.asked.tolist()),
        seen=tuple(real.seen.tolist()),
    )


def _judged(
    metric: str, repeats: list[MetricResults], bounds: Bounds, judge: Judge, samples: int, seed: int
) -> JudgedScore:
    values = np.array([repeat.scores[metric] for repeat in repeats])
    value, floor, ceiling = float(values.mean()), bounds.floor.get(metric), bounds.ceiling.get(metric)
    return JudgedScore(
        metric=metric,
        value=value,
        judge=NO_JUDGE if metric == "sliced_wasserstein" else judge.name,
        samples=samples,
        floor=floor,
        ceiling=ceiling,
        deviation=float(values.std(ddof=1)),
        share=share(value, floor, ceiling),
        better=METRICS[metric].better,
        protocol=f"{METRICS[metric].protocol}; mean of {REPEATS} × {samples} images, uint8, seeds from {seed}; "
        f"floor from {bounds.floor_samples} real images",
    )


def _labels(repeats: list[MetricResults], bounds: Bounds, data: TrainingImages) -> tuple[LabelScore, ...] | None:
    """None where the judge has other labels than the data."""
    asked = np.sum([repeat.asked for repeat in repeats], axis=0)
    seen = np.sum([repeat.seen for repeat in repeats], axis=0)
    if not asked.any():
        return None
    return tuple(
        LabelScore(
            label=name,
            samples=int(asked[label]),
            agreement=_ratio(seen[label], asked[label]),
            real_agreement=_ratio(bounds.seen[label], bounds.asked[label]),
        )
        for label, name in enumerate(data.label_names or ())
    )


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
