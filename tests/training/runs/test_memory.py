"""Scoring and drawing take what memory a training leaves them: batches that do not fit are halved, never blamed."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import training.cli
from models.bundle import ImageSpec
from models.networks import build_generator
from training.config.files import load_config
from training.evaluation.judge.network import Judge, JudgeNetwork, JudgeRecord, weights_sha256
from training.evaluation.target import sample_images
from training.runs.sampling import in_batches, sample

FITS = 7


class Large(nn.Module):
    """A network that takes more memory than there is for more than ``FITS`` images."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.batches: list[int] = []

    def forward(self, images: Tensor, *more: Tensor | None) -> Tensor:
        self.batches.append(len(images))
        if len(images) > FITS:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        made: Tensor = self.network(images, *more)
        return made


@pytest.fixture(scope="module")
def generator() -> nn.Module:
    config = load_config("digits", ["network.family=mlp", "network.width=8", "network.depth=1"])
    return build_generator(config.network, ImageSpec(height=32, width=32, channels=1), 0).eval()


def test_batches_are_halved_until_they_fit_and_stay_so() -> None:
    tried = []

    def make(first: int, last: int) -> list[int]:
        tried.append(last - first)
        if last - first > FITS:
            raise torch.OutOfMemoryError
        return list(range(first, last))

    assert [value for part in in_batches(make, 40, 25) for value in part] == list(range(40))
    assert tried == [25, 12, 6, 6, 6, 6, 6, 6, 4]


def test_an_item_that_never_fits_raises() -> None:
    def make(first: int, last: int) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        list(in_batches(make, 3, 3))


def test_grids_are_drawn_in_the_available_memory(generator: nn.Module) -> None:
    noise = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    large = Large(generator)
    np.testing.assert_array_equal(sample(large, noise, None), sample(generator, noise, None))
    assert large.batches == [20, 10, 5, 5, 5, 5]


def test_scores_are_the_same_with_less_memory(
    generator: nn.Module, monkeypatch: pytest.MonkeyPatch, digits: object
) -> None:
    from training.data.dataset import load_images
    from training.evaluation.in_loop import LoopJudge
    from training.evaluation.judge.train import judge_for

    data = load_images(str(digits), load_config("digits").data)
    judge = LoopJudge(data, 500, judge_for(data), 64, conditional=False)
    large = Large(generator)
    whole = judge.score(generator)
    assert judge.score(large) == pytest.approx(whole, rel=1e-3)
    assert max(large.batches) == 250, "the first try"
    assert max(large.batches[6:]) <= FITS


def test_a_judge_computes_in_the_available_memory() -> None:
    torch.manual_seed(0)
    network = JudgeNetwork(16, 1, 4).eval()
    record = JudgeRecord(
        dataset="x",
        fingerprint="0" * 64,
        resolution=16,
        channels=1,
        task="rotations",
        label_names=None,
        accuracy=0.5,
        seed=0,
        sha256=weights_sha256(network),
    )
    images = np.random.RandomState(0).randint(0, 256, (20, 16, 16, 1), np.uint8)
    judge = Judge(network, record)
    expected = judge(images)
    judge.network = Large(network)  # type: ignore[assignment]
    for found, whole in zip(judge(images), expected, strict=True):
        np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-5)


def test_images_of_a_score_are_generated_in_one_batch_if_they_fit(generator: nn.Module) -> None:
    large = Large(generator)
    assert len(sample_images(large, np.zeros((FITS, 64), np.float32), None)) == FITS
    assert large.batches == [FITS]


def test_a_training_that_does_not_fit_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app(**options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee documentation …")

    monkeypatch.setattr(training.cli, "app", app)
    with pytest.raises(SystemExit) as ended:
        training.cli.main()
    assert ended.value.code == 1
    said = "error: the device has too little memory for these settings; a lower batch_size takes less\n"
    assert capsys.readouterr().err == said
