"""Tiny configurations that together use every part of the trainer, shared by the tests of runs."""

from pathlib import Path

import torch

from training.runs.checkpoints import checkpoints

PLAIN = [
    "regularization.r1=0",
    "regularization.interval=1",
    "generator_optimizer={learning_rate: 0.0002, beta1: 0.5, beta2: 0.999}",
    "discriminator_optimizer={learning_rate: 0.0002, beta1: 0.5, beta2: 0.999}",
    "ema.half_lives=[20000]",
]
"""What no test asks for by name, whatever the preset `digits` has: no penalty, constant rates, one EMA."""

TINY = [
    *PLAIN,
    "data.fit=crop",
    "data.resolution=16",
    "batch_size=16",
    "images=128",
    "judge=null",
    "pace.tick=32",
    "pace.samples=128",
    "pace.checkpoint=64",
]

FAMILIES = {
    "mlp": ["network.family=mlp", "network.width=32", "network.depth=2"],
    "dcgan": ["network.width=8", "network.discriminator_norm=batch"],
    "sngan": ["network.family=sngan", "network.generator_width=8", "network.discriminator_width=8"],
    "biggan": ["network.family=biggan", "network.width=4", "network.embedding_dim=8", "network.attention=8"],
    "stylegan2": [
        "network.family=stylegan2",
        "network.width=8",
        "network.max_width=16",
        "network.style_dim=16",
        "network.deviation_group=4",
    ],
    "r3gan": ["network.family=r3gan", "network.width=16", "network.max_width=16", "network.group_width=8"],
}
"""Family → settings for tiny networks."""

OBJECTIVES = {
    "non_saturating": ["loss=non_saturating", "regularization.label_smoothing=0.1"],
    "lazy": [
        "loss=non_saturating",
        "regularization.r1=1",
        "regularization.interval=3",
        "augmentation.flip=true",
        "augmentation.adaptive.images_to_one=500",
        "ema.half_lives=[50,500]",
        "generator_optimizer.schedule=cosine",
        "discriminator_optimizer.schedule=linear",
    ],
    "styles": [
        "loss=non_saturating",
        "regularization.style_mixing=0.9",
        "regularization.path_length=2",
    ],
    "scheduled": [
        "loss=relativistic",
        "burn_in=0.75",
        "regularization.r1=0.1",
        "regularization.r2=0.1",
        "regularization.gamma_schedule=cosine",
        "augmentation.scheduled={probability: 0.5, schedule: linear}",
        "generator_optimizer.schedule=cosine",
        "generator_optimizer.final_beta2=0.9",
        "discriminator_optimizer.schedule=linear",
        "discriminator_optimizer.final_beta2=0.5",
        "ema.growth=cosine",
    ],
    "relativistic": [
        "loss=relativistic",
        "regularization.r1=0.1",
        "regularization.r2=0.1",
        "augmentation.diff_augment=[color,translation,cutout]",
    ],
    "hinge": ["loss=hinge", "discriminator_steps=2", "regularization.instance_noise=0.2"],
    "wasserstein": [
        "loss=wasserstein",
        "network.discriminator_norm=none",
        "network.upsampling=nearest",
        "network.full_size_width=4",
        "regularization.gradient_penalty=10",
        "generator_optimizer.clip_norm=1",
    ],
}
"""Together these use every kind of loss, regularizer, augmentation and schedule. The last one is for ``dcgan``."""


def arguments(*settings: str) -> list[str]:
    """Returns settings as command-line arguments."""
    return [f"--set={setting}" for setting in settings]


def newest_weights(run: Path) -> dict[str, torch.Tensor]:
    """Returns every tensor of the run's newest checkpoint, by its path in the file."""
    content = torch.load(checkpoints(run / "checkpoints")[-1], weights_only=True)
    flat: dict[str, torch.Tensor] = {}

    def walk(prefix: str, value: object) -> None:
        if isinstance(value, torch.Tensor):
            flat[prefix] = value
        elif isinstance(value, dict):
            for key, nested in value.items():
                walk(f"{prefix}.{key}", nested)

    walk("", content)
    return flat


def assert_same_weights(one: Path, other: Path) -> None:
    """Asserts that both runs' newest checkpoints are equal bit for bit."""
    expected, found = newest_weights(one), newest_weights(other)
    assert expected.keys() == found.keys()
    assert len(expected) > 30, "networks, EMAs and both optimisers"
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
