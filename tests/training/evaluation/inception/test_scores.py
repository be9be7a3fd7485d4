"""FID, KID and Inception Score follow the papers' protocol, on a stand-in for the network that does not ship."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import training.evaluation.inception.scores
import training.evaluation.inception.weights
from models.bundle import ImageSpec, read_bundle
from training.data.cache import judges_folder
from training.data.dataset import TrainingImages
from training.errors import TrainingError
from training.evaluation.inception.scores import fid_left_out, inception_scores
from training.evaluation.inception.weights import Inception, load_inception
from training.evaluation.metrics.kernel import kernel_distance
from training.evaluation.target import generate_batches, open_target

# PyTorch deprecates TorchScript, but the published weights are a TorchScript file.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

WIDTH, FAKES = 16, 300
PROTOCOL = (
    training.evaluation.inception.scores.FAKES,
    training.evaluation.inception.scores.SPLITS,
    training.evaluation.inception.weights.FEATURES,
)


class StandIn(nn.Module):
    """Has the interface of NVIDIA's TorchScript network; its features are a few means of the green channel."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.output = nn.Linear(width, 10)
        self.width = width

    def forward(self, img: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        assert img.dtype == torch.uint8
        assert img.shape[1] == 3
        features = nn.functional.adaptive_avg_pool2d(img.float()[:, 1:2] / 64, (4, self.width // 4)).flatten(1)
        if return_features:
            return features
        logits = nn.functional.linear(features, self.output.weight) if no_output_bias else self.output(features)
        return logits.softmax(1)


def saved(path: Path, width: int = WIDTH) -> tuple[str, str]:
    torch.manual_seed(0)
    torch.jit.script(StandIn(width)).save(str(path))
    return str(path), hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.evaluation.inception.weights, "FEATURES", WIDTH)
    monkeypatch.setattr(training.evaluation.inception.scores, "FAKES", FAKES)


@pytest.fixture
def inception(tmp_path: Path) -> Inception:
    return load_inception(*saved(tmp_path / "inception.pt"))


def test_fid_and_is_follow_their_formulas(inception: Inception, digit_images: TrainingImages, bundle: Path) -> None:
    target = open_target(bundle)
    fid, kid, score = inception_scores(inception, target, digit_images, seed=3)
    fakes = np.concatenate([images for images, _ in generate_batches(target, digit_images, FAKES, 3)])
    a, b = inception.features(digit_images.images).astype(float), inception.features(fakes).astype(float)
    one, two = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(one @ two).astype(complex)).real.sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one) + np.trace(two) - 2 * root
    assert fid.value == pytest.approx(expected, rel=1e-4)
    kernel = kernel_distance(a, b)
    assert (kid.value, kid.deviation) == (
        pytest.approx(kernel.value, rel=0.1),
        pytest.approx(kernel.deviation, rel=0.3),
    )
    parts = np.split(inception.probabilities(fakes).astype(float), 10)
    splits = [np.exp((p * np.log(p / p.mean(0))).sum(1).mean()) for p in parts]
    assert (score.value, score.deviation) == (pytest.approx(np.mean(splits), rel=1e-5), pytest.approx(np.std(splits)))


def test_the_protocol_is_recorded_in_full(inception: Inception, digit_images: TrainingImages, bundle: Path) -> None:
    fid, kid, score = inception_scores(inception, open_target(bundle), digit_images, seed=0)
    assert (fid.metric, fid.judge, fid.samples) == ("fid", "inception-2015-12-05", FAKES)
    assert fid.protocol.startswith(
        "fid50k_full: all 512 images of digits, no flips, against 300 generated images, uint8"
    )
    assert (kid.metric, kid.judge, kid.better) == ("kid", "inception-2015-12-05", "lower")
    assert kid.protocol.startswith("kid50k: all 512 images of digits, no flips, against 300 generated images, uint8")
    assert "100 subsets of up to 1000 from up to 10000 images a side" in kid.protocol
    assert score.metric == "inception_score"
    assert score.protocol.startswith("is50k: 10 splits of")
    assert inception_scores(inception, open_target(bundle), digit_images, seed=0)[:2] == [fid, kid], (
        "from cached features"
    )


def test_the_protocol_names_the_colour_below_transparent_images(
    inception: Inception, digit_images: TrainingImages, bundle: Path
) -> None:
    def transparent(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.concatenate([images.repeat(3, 3), images], 3)

    plain = open_target(bundle)
    target = dataclasses.replace(
        plain,
        image=ImageSpec(height=32, width=32, channels=4),
        sample=lambda noise, label: transparent(plain.sample(noise, label)),
    )
    data = dataclasses.replace(digit_images, images=transparent(digit_images.images), fingerprint="a" * 64)
    for score in inception_scores(inception, target, data, seed=0):
        assert score.protocol.endswith("its own resize; laid over (128, 128, 128), red, green and blue")


def test_evaluate_adds_both_to_the_other_scores_and_to_the_card(
    inception: Inception,
    bundle: Path,
    digits: Path,
    judge_file: Path,
    train: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.evaluation.inception.weights.load_inception", {"weights.pt": inception}.__getitem__)
    options = ["--data", digits, "--judge", judge_file, "--samples", 81, "--inception", "weights.pt", "--out", tmp_path]
    train("evaluate", bundle, *options)
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    assert [score["metric"] for score in scores[-3:]] == ["fid", "kid", "inception_score"]
    assert [score.metric for score in read_bundle(bundle).card.scores[-3:]] == ["fid", "kid", "inception_score"]


def test_the_protocol_counts_as_published() -> None:
    assert PROTOCOL == (50_000, 10, 2048)


def test_another_file_is_rejected_before_its_code_runs(tmp_path: Path) -> None:
    path, _ = saved(tmp_path / "other.pt")
    with pytest.raises(TrainingError, match=r"other\.pt is not inception-2015-12-05\.pt: its SHA-256 is"):
        load_inception(path)


def test_a_file_without_torchscript_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_bytes(b"text")
    with pytest.raises(TrainingError, match=r"text\.pt is not a TorchScript network"):
        load_inception(str(tmp_path / "text.pt"), hashlib.sha256(b"text").hexdigest())


def test_a_network_with_other_outputs_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="does not behave like Inception: 16 features an image"):
        load_inception(*saved(tmp_path / "narrow.pt", width=8))


def test_a_network_with_another_interface_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "linear.pt"
    torch.jit.script(nn.Linear(2, 2)).save(str(path))
    with pytest.raises(TrainingError, match="cannot be called as net"):
        load_inception(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_download_of_another_file_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "page.html").write_text("not found")
    monkeypatch.setattr(training.evaluation.inception.weights, "ADDRESS", (tmp_path / "page.html").as_uri())
    with pytest.raises(TrainingError, match="does not have the SHA-256 f58cb9b6ec32"):
        load_inception("download")
    monkeypatch.setattr(training.evaluation.inception.weights, "ADDRESS", (tmp_path / "nothing").as_uri())
    with pytest.raises(TrainingError, match=r"cannot download the Inception weights .* pass --inception FILE"):
        load_inception("download")
    assert not any(path.is_file() for path in (tmp_path / "cache").rglob("*"))


def test_a_download_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, digest = saved(tmp_path / "published.pt")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(training.evaluation.inception.weights, "ADDRESS", Path(path).as_uri())
    assert load_inception("download", digest).sha256 == digest
    Path(path).unlink()
    assert load_inception("download", digest).sha256 == digest


def test_an_evicted_sample_is_computed_again(inception: Inception, digit_images: TrainingImages, bundle: Path) -> None:
    """The cache evicts features, and keeps moments; one without the other is no reason for another result."""
    first = inception_scores(inception, open_target(bundle), digit_images, seed=0)
    (path,) = judges_folder().glob(f"{digit_images.fingerprint}-{inception.sha256[:16]}-sample-features.npy")
    path.unlink()
    assert inception_scores(inception, open_target(bundle), digit_images, seed=0) == first


def test_below_the_features_there_is_no_fid_but_a_kid(
    inception: Inception, digit_images: TrainingImages, bundle: Path
) -> None:
    few = dataclasses.replace(
        digit_images, images=digit_images.images[:16], labels=digit_images.labels[:16], fingerprint="0" * 64
    )
    scores = inception_scores(inception, open_target(bundle), few, seed=0)
    assert [score.metric for score in scores] == ["kid", "inception_score"]
    assert fid_left_out(few) == "needs more than 16 real images, and digits holds 16; read kid"
    assert fid_left_out(digit_images) is None
