"""BigGAN's attention is a softmax over pixels that starts as the identity, and its noise enters at every level."""

import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool2d

from models.bundle import ImageSpec
from models.networks.biggan import BigganConfig, Discriminator, Generator
from models.networks.layers.attention import SelfAttention

SMALL = BigganConfig(noise_dim=9, width=2, embedding_dim=4, attention=8)


def square(side: int) -> ImageSpec:
    return ImageSpec(height=side, width=side, channels=3)


def test_attention_starts_as_the_identity() -> None:
    features = torch.randn(2, 16, 8, 8)
    assert torch.equal(SelfAttention(16)(features), features)


def test_attention_is_a_softmax_over_pixels() -> None:
    """Computed pixel by pixel, with query, key and value as plain matrices."""
    torch.manual_seed(0)
    attention = SelfAttention(16)
    with torch.no_grad():
        attention.gamma.fill_(0.7)
    query, key, value, output = (
        layer.weight.flatten(1) for layer in (attention.query, attention.key, attention.value, attention.output)
    )
    features = torch.randn(2, 16, 4, 6)
    actual = attention(features)
    for image, result in zip(features, actual, strict=True):
        keys = max_pool2d(torch.einsum("kc,chw->khw", key, image), 2).flatten(1)
        values = max_pool2d(torch.einsum("vc,chw->vhw", value, image), 2).flatten(1)
        for y in range(4):
            for x in range(6):
                scores = (query @ image[:, y, x]) @ keys
                weights = scores.exp() / scores.exp().sum()
                naive = image[:, y, x] + 0.7 * (output @ (values @ weights))
                torch.testing.assert_close(result[:, y, x], naive)


@pytest.mark.parametrize(("attention", "count"), [(8, 1), (16, 1), (64, 0), (None, 0)])
def test_attention_is_at_the_feature_map_of_that_size(attention: int | None, count: int) -> None:
    config = BigganConfig.model_validate({"width": 2, "attention": attention})
    for player in (Generator(config, square(32), 0), Discriminator(config, square(32), 0)):
        assert sum(isinstance(module, SelfAttention) for module in player.modules()) == count


@pytest.mark.parametrize("labels", [0, 3])
def test_every_chunk_of_the_noise_enters_at_its_own_level(labels: int) -> None:
    """Each chunk changes the image. No two blocks share one, and none is lost if the length is not divisible."""
    torch.manual_seed(0)
    generator = Generator(SMALL, square(16), labels).eval()
    assert generator.chunks == [3, 3, 3]
    assert sum(Generator(BigganConfig(noise_dim=128, width=2), square(64), labels).chunks) == 128
    noise, label = torch.randn(1, 9), torch.zeros(1, dtype=torch.int64) if labels else None
    for index in range(9):
        moved = noise.clone()
        moved[0, index] += 1
        assert not torch.equal(generator(noise, label), generator(moved, label))


def test_every_weight_starts_orthogonal_and_is_kept_at_norm_one() -> None:
    torch.manual_seed(0)
    for player in (Generator(SMALL, square(16), 3), Discriminator(SMALL, square(16), 3)):
        for module in player.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                values = torch.linalg.svdvals(module.weight.detach().flatten(1))
                torch.testing.assert_close(values, torch.ones_like(values), rtol=1e-3, atol=1e-3)


def test_the_label_embedding_is_shared_and_not_normalised() -> None:
    """All levels share one embedding without spectral norm: appendix B of the paper."""
    generator = Generator(SMALL, square(64), 3)
    embeddings = [name for name, module in generator.named_modules() if isinstance(module, nn.Embedding)]
    assert embeddings == ["embedding"]
    assert "embedding.weight" in dict(generator.named_parameters())
