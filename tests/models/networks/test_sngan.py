"""SNGAN's discriminator has weights of norm 1, and both networks have the paper's sizes."""

import pytest
import torch
from torch import nn

from models.bundle import ImageSpec
from models.networks.layers.conditional_norm import ConditionalBatchNorm
from models.networks.layers.conditioning import ProjectionHead
from models.networks.sngan import Discriminator, Generator, SnganConfig, discriminator_blocks, generator_channels

SMALL = SnganConfig(noise_dim=8, generator_width=8, discriminator_width=8)


def square(side: int) -> ImageSpec:
    return ImageSpec(height=side, width=side, channels=3)


@pytest.mark.parametrize("labels", [0, 5])
def test_no_layer_of_the_discriminator_stretches_by_more_than_one(labels: int) -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(SMALL, square(32), labels)
    label = torch.zeros(2, dtype=torch.int64) if labels else None
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.mul_(5)
        for _ in range(30):
            discriminator(torch.randn(2, 3, 32, 32), label)
    weights = [
        module.weight.detach()
        for module in discriminator.eval().modules()
        if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding)
    ]
    assert len(weights) == 4 * 2 + 2 + 1 + bool(labels)  # blocks, shortcuts, logit, labels
    for weight in weights:
        assert torch.linalg.matrix_norm(weight.flatten(1), ord=2) == pytest.approx(1, abs=0.05)


def test_projection_is_the_papers_equation() -> None:
    """Miyato and Koyama 2018, equation 3, computed image by image."""
    torch.manual_seed(0)
    head = ProjectionHead(6, 4)
    features, label = torch.randn(3, 6), torch.tensor([2, 0, 2])
    logits = head(features, label)
    for phi, y, logit in zip(features, label, logits, strict=True):
        one_hot = torch.eye(4)[y]
        naive = head.to_logit.weight[0] @ phi + head.to_logit.bias[0] + one_hot @ head.embedding.weight @ phi
        torch.testing.assert_close(logit, naive)


def test_conditional_batch_norm_with_equal_embeddings_is_batch_norm() -> None:
    torch.manual_seed(0)
    scale, shift = nn.Embedding(3, 5), nn.Embedding(3, 5)
    plain = nn.BatchNorm2d(5)
    with torch.no_grad():
        for embedding, weight in ((scale, plain.weight), (shift, plain.bias)):
            embedding.weight.copy_(torch.randn(5).expand(3, 5))
            weight.copy_(embedding.weight[0])
        plain.weight.add_(1)
    conditional = ConditionalBatchNorm(5, scale, shift)
    for step in range(3):
        features = torch.randn(4, 5, 2, 2) * 3 + step
        torch.testing.assert_close(conditional(features, torch.tensor([0, 1, 2, 1])), plain(features))
    features = torch.randn(4, 5, 2, 2)
    torch.testing.assert_close(conditional.eval()(features, torch.zeros(4, dtype=torch.int64)), plain.eval()(features))


def test_each_image_gets_the_scale_of_its_own_label() -> None:
    scale, shift = nn.Embedding(2, 3), nn.Embedding(2, 3)
    norm = ConditionalBatchNorm(3, scale, shift).eval()
    features = torch.randn(2, 3, 2, 2)
    out = norm(features, torch.tensor([1, 0]))
    for index, label in enumerate((1, 0)):
        naive = features[index] * (1 + scale.weight[label])[:, None, None] + shift.weight[label][:, None, None]
        torch.testing.assert_close(out[index], naive, rtol=1e-4, atol=1e-4)  # running variance 1, but for 1e-5


def test_a_conditional_norm_keeps_the_type_of_its_features() -> None:
    """A float32 scale would turn all later layers into float32, which is slow."""
    norm = ConditionalBatchNorm(3, nn.Embedding(2, 3), nn.Embedding(2, 3))
    assert norm(torch.randn(2, 3, 2, 2, dtype=torch.bfloat16), torch.tensor([1, 0])).dtype == torch.bfloat16


def test_the_defaults_have_the_papers_channels() -> None:
    config = SnganConfig()
    assert generator_channels(config, square(32)) == [256, 256, 256, 256]
    assert generator_channels(config, square(128)) == [1024, 1024, 512, 256, 128, 64]
    assert discriminator_blocks(config, square(32)) == [(128, True), (128, True), (128, False), (128, False)]
    assert [channels for channels, _ in discriminator_blocks(config, square(128))] == [64, 128, 256, 512, 1024, 1024]
    weights = sum(weight.numel() for weight in Generator(config, square(32), 0).parameters())
    assert weights == pytest.approx(4.28e6, rel=0.01)  # what mimicry's generator of this design has
