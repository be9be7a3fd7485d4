"""The command ``evaluate`` end to end on real digits: every field, reproducible numbers, errors in one sentence."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.bundle import read_bundle
from models.noise import noise_for_seeds
from training.data.dataset import TrainingImages
from training.errors import TrainingError
from training.evaluation import gather, reference
from training.evaluation.evaluate import NO_JUDGE, evaluate
from training.evaluation.judge.network import Judge
from training.evaluation.metrics.table import LOOP_METRICS, METRICS, Gathered, Metric, compute_scores
from training.evaluation.reference import Reference
from training.evaluation.seeds import TELLING
from training.evaluation.target import (
    check_labels,
    generate_batches,
    open_target,
    prefetch,
    sample_images,
    sample_labels,
)

Train = Callable[..., None]
SAMPLES = 256

SHIPPED = Path(__file__).parents[3] / "models/zoo/digits/3"


@pytest.fixture(scope="module")
def evaluated(
    tmp_path_factory: pytest.TempPathFactory, train: Train, digits: Path, judge_file: Path
) -> tuple[Path, Path]:
    """The bundle that ships, evaluated, and the folder of its results."""
    root = tmp_path_factory.mktemp("evaluated")
    bundle = shutil.copytree(SHIPPED, root / "zoo/digits/3")
    evaluate_bundle(train, bundle, digits, judge_file, root / "out")
    return bundle, root / "out"


def evaluate_bundle(train: Train, bundle: Path, digits: Path, judge_file: Path, out: Path) -> None:
    train("evaluate", bundle, "--data", digits, "--judge", judge_file, "--samples", SAMPLES, "--out", out)


def test_the_json_has_every_field(evaluated: tuple[Path, Path], judge: Judge, digit_images: TrainingImages) -> None:
    content = json.loads((evaluated[1] / "scores.json").read_text())
    assert content["subject"]["kind"] == "bundle"
    assert content["data"]["fingerprint"] == digit_images.fingerprint
    assert (content["judge_name"], content["judge"]["sha256"]) == (judge.name, judge.record.sha256)
    assert (content["seed"], content["samples"], content["repeats"]) == (TELLING, SAMPLES, 3)
    assert content["floor_samples"] == SAMPLES
    assert [score["metric"] for score in content["scores"]] == [
        *(metric.name for metric in METRICS if metric.needs not in ("extrapolation", "memorisation")),
        "kd-lite0",
    ]
    assert content["data"]["held_out"] == 0
    left_out = content["left_out"]
    assert left_out["fd-lite0"] == "needs more than 1280 images a side, and 256 can be compared; read kd-lite0"
    for metric in ("nearest_ratio", "copies"):
        assert "was trained on other images" in left_out[metric], "on 60 000 digits, and not on these 512"
    assert len(left_out) == 3
    assert content["scores"][-1]["judge"] == "lite0"
    by_name = {metric.name: metric for metric in METRICS}
    for score in content["scores"][:-1]:
        assert set(score) == {
            "metric", "value", "judge", "samples", "floor", "ceiling", "deviation", "share", "better", "protocol",
        }  # fmt: skip
        assert score["judge"] == (judge.name if by_name[score["metric"]].uses_judge else NO_JUDGE)
        assert f"3 × {SAMPLES} images, uint8, seeds from {TELLING}" in score["protocol"]
    assert [row["label"] for row in content["labels"]] == list("0123456789")
    assert sum(row["samples"] for row in content["labels"]) == 3 * SAMPLES


def test_real_is_better_than_generated_is_better_than_noise(evaluated: tuple[Path, Path]) -> None:
    scores = {score["metric"]: score for score in json.loads((evaluated[1] / "scores.json").read_text())["scores"]}
    for metric in ("fxd", "sliced_wasserstein", "kd-lite0"):
        assert scores[metric]["floor"] < scores[metric]["value"] < scores[metric]["ceiling"], metric
        assert 0 < scores[metric]["share"] < 0.5
    assert scores["coverage"]["ceiling"] < scores["coverage"]["value"]
    assert scores["label_agreement"]["value"] > 0.5


def test_nothing_is_called_fid_without_inception(evaluated: tuple[Path, Path]) -> None:
    text = (evaluated[1] / "scores.json").read_text()
    assert "fid" not in text.lower()
    assert "inception_score" not in text


def test_the_card_carries_the_scores(evaluated: tuple[Path, Path]) -> None:
    card = read_bundle(evaluated[0]).card
    scores = json.loads((evaluated[1] / "scores.json").read_text())["scores"]
    shipped = read_bundle(SHIPPED).card.scores
    assert card.scores[: len(shipped)] == shipped, "another judge's scores stay"
    added = card.scores[len(shipped) :]
    assert [(score.metric, score.value, score.floor, score.ceiling) for score in added] == [
        (score["metric"], score["value"], score["floor"], score["ceiling"]) for score in scores
    ]
    assert sorted(path.name for path in evaluated[0].iterdir()) == ["card.json", "generator.onnx", "samples.png"]


def test_there_is_a_picture(evaluated: tuple[Path, Path]) -> None:
    picture = Image.open(evaluated[1] / "evaluation.png")
    assert picture.width > 1000
    assert np.asarray(picture).std() > 20


def test_a_second_evaluation_gives_the_same_bytes_and_no_duplicate_scores(
    evaluated: tuple[Path, Path], train: Train, digits: Path, judge_file: Path, tmp_path: Path
) -> None:
    bundle, first = evaluated
    card = (bundle / "card.json").read_bytes()
    evaluate_bundle(train, bundle, digits, judge_file, tmp_path)
    assert (tmp_path / "scores.json").read_bytes() == (first / "scores.json").read_bytes()
    assert (bundle / "card.json").read_bytes() == card


def test_a_run_needs_no_data_and_its_scores_go_into_its_folder(
    finished_run: Path, train: Train, tmp_path: Path, judge_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    train("evaluate", run, "--judge", judge_file, "--samples", 100)
    content = json.loads((run / "scores.json").read_text())
    assert content["subject"]["kind"] == "run"
    assert (run / "evaluation.png").is_file()
    assert "fxd" in capsys.readouterr().out


def test_the_judge_command_overwrites_no_judge(
    train: Train, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.evaluation.judge.train.MAX_EPOCHS", 1)
    out = tmp_path / "judge.pt"
    train("judge", "--data", digits, "--out", out)
    before = out.read_bytes()
    with pytest.raises(TrainingError, match="exists already"):
        train("judge", "--data", digits, "--out", out)
    assert out.read_bytes() == before


def test_features_of_real_images_are_computed_once(
    digit_images: TrainingImages, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = Reference(digit_images, judge).real_features.copy()
    monkeypatch.setattr(Reference, "_compute_features", lambda self: pytest.fail("computed twice"))
    assert np.array_equal(Reference(digit_images, judge).real_features, cached)


def test_memory_does_not_grow_with_the_samples(digit_images: TrainingImages, judge: Judge) -> None:
    """Batches are released while the stream goes on."""
    real = Reference(digit_images, judge)
    alive = 0

    class Batch(np.ndarray):  # type: ignore[type-arg]
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    most = 0

    def stream() -> object:
        nonlocal alive, most
        for images, _ in real.noise_batches(100):
            for _ in range(20):
                alive += 1
                most = max(most, alive)
                batch = images.copy().view(Batch)
                yield batch, None
                del batch

    scores = gather.compute_metrics(stream(), 2000, real).scores  # type: ignore[arg-type]
    assert most <= 3
    assert scores["fxd_infinity"] == pytest.approx(scores["fxd"], rel=0.1), "noise has hardly any bias: it is far off"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["BUNDLE"], "a bundle does not name its training images; pass --data"),
        (["BUNDLE", "--data", "DIGITS", "--samples", "64"], "--samples is 64; on 80 features it must be at least 81"),
        (["BUNDLE", "--data", "DIGITS", "--judge", "DIGITS"], "is not a judge; python -m training judge writes one"),
        (["BUNDLE", "--data", "DIGITS", "--inception", "DIGITS"], "is not inception-2015-12-05.pt: its SHA-256 is"),
        (["BUNDLE", "--data", "DIGITS", "--inception", "none.pt"], "cannot read the Inception weights none.pt"),
        (["nowhere", "--data", "DIGITS"], "nowhere is not the folder of a run: it has no config.yaml"),
    ],
)
def test_bad_input_is_reported_in_one_sentence(
    arguments: list[str], sentence: str, train: Train, bundle: Path, digits: Path, judge_file: Path
) -> None:
    places: dict[str, str] = {"BUNDLE": str(bundle), "DIGITS": str(digits)}
    judging = [] if "--judge" in arguments else ["--judge", judge_file]
    with pytest.raises(TrainingError) as caught:
        train("evaluate", *(places.get(argument, argument) for argument in arguments), *judging)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", [None, tuple("ABCDEFGHIJ")])
def test_other_labels_are_rejected(names: tuple[str, ...] | None, bundle: Path, digit_images: TrainingImages) -> None:
    other = dataclasses.replace(digit_images, label_names=names)
    with pytest.raises(TrainingError, match=r"takes the labels 0, 1, 2, 3, 4, … .* but the labels of digits are"):
        check_labels(open_target(bundle), other)


def test_a_judge_of_another_size_is_rejected(bundle: Path, digit_images: TrainingImages, judge: Judge) -> None:
    target = open_target(bundle)
    smaller = dataclasses.replace(target, image=target.image.model_copy(update={"height": 16, "width": 16}))
    with pytest.raises(TrainingError, match="not of 16 × 16 × 1"):
        evaluate(smaller, digit_images, judge, SAMPLES)


def test_nan_images_are_rejected() -> None:
    class Broken(torch.nn.Linear):
        def forward(self, noise: torch.Tensor, label: object = None, truncation: object = None) -> torch.Tensor:
            return torch.full((len(noise), 1, 8, 8), torch.nan)

    with pytest.raises(TrainingError, match="images contain NaN or Inf"):
        sample_images(Broken(1, 1), np.zeros((2, 4), np.float32), None)


def test_labels_are_as_frequent_as_in_the_data(digit_images: TrainingImages) -> None:
    lopsided = dataclasses.replace(digit_images, labels=np.array([3] * 480 + [5] * 32))
    labels = sample_labels(lopsided, 4000, seed=1)
    assert (labels == 5).mean() == pytest.approx(1 / 16, abs=0.015)
    assert np.array_equal(labels, sample_labels(lopsided, 4000, seed=1))


def test_seeds_wrap_around(bundle: Path, digit_images: TrainingImages) -> None:
    target = open_target(bundle)
    ((images, labels),) = generate_batches(target, digit_images, 3, 2**32 - 1)
    assert labels is not None
    expected = target.sample(noise_for_seeds([2**32 - 1, 0, 1], target.noise_dim), labels)
    assert np.array_equal(images, expected)
    assert len(sample_labels(digit_images, 3, 2**32 + 5)) == 3


def test_prefetching_changes_nothing_and_passes_errors_on() -> None:
    assert list(prefetch(iter(range(5)))) == list(range(5))
    with pytest.raises(ZeroDivisionError):
        list(prefetch(1 // number for number in (1, 0)))


LOOP_NAMES = [metric.name for metric in LOOP_METRICS]


def test_names_of_metrics_are_unique_and_those_of_the_loop_need_only_features() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert {metric.needs for metric in LOOP_METRICS} == {"features"}
    assert {"fxd", "coverage"} <= set(LOOP_NAMES), "scores.jsonl, best.pt and the objective of studies read them"


def test_a_new_record_in_the_table_reaches_scores_and_baselines(
    digit_images: TrainingImages, judge: Judge, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the table is changed."""
    new = Metric("spread", "real", "largest feature", "features", lambda gathered: float(gathered.features.max()))
    for module in ("gather", "evaluate"):
        monkeypatch.setattr(f"training.evaluation.{module}.METRICS", (*METRICS, new))
    monkeypatch.setattr(reference, "_definitions_digest", lambda: "another")
    score = next(s for s in evaluate(open_target(bundle), digit_images, judge, SAMPLES).scores if s.metric == "spread")
    assert (score.metric, score.better, score.judge) == ("spread", "real", judge.name)
    assert None not in (score.floor, score.ceiling, score.share)


def test_a_changed_definition_reads_no_baselines_of_an_earlier_one(
    digit_images: TrainingImages, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Reference(digit_images, judge)
    first, second = (
        reference.Baselines(real_baseline={"fxd": value}, real_samples=1, noise_baseline={}) for value in (1.0, 2.0)
    )
    assert real.baselines("test", 1, lambda: first) == real.baselines("test", 1, lambda: second) == first
    monkeypatch.setattr(reference, "_definitions_digest", lambda: "changed")
    assert real.baselines("test", 1, lambda: second) == second


def test_a_metric_without_its_input_is_left_out(digit_images: TrainingImages, judge: Judge) -> None:
    real = Reference(digit_images, judge)
    gathered = Gathered(real, real.moments, np.asarray(real.real_features))
    needing_more = {metric.name for metric in METRICS if metric.needs != "features"}
    assert set(compute_scores(gathered, METRICS)) == {metric.name for metric in METRICS} - needing_more
