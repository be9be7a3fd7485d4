"""What other programs call the losses."""

from collections.abc import Iterable

from training.errors import TrainingError

SIGNALS = ("d_loss", "g_loss")

KNOWN_NAMES: dict[str, tuple[str, ...]] = {
    "d_loss": (
        "Loss/D/loss",  # StyleGAN2-ADA, StyleGAN3, R3GAN
        "discriminator_loss",  # Figment
        "Losses_discriminator", "Losses_dis_loss", "dis_loss",  # StudioGAN, by version
        "d_loss", "D_loss", "Loss_D", "loss_D", "Loss/D", "Loss/d", "loss/D", "loss/d", "errD", "D_loss/total",
        "loss/discriminator", "Loss/discriminator", "Loss/Discriminator", "Discriminator Loss", "Discriminator loss",
    ),
    "g_loss": (
        "Loss/G/loss",
        "generator_loss",
        "Losses_generator", "Losses_gen_loss", "gen_loss",
        "g_loss", "G_loss", "Loss_G", "loss_G", "Loss/G", "Loss/g", "loss/G", "loss/g", "errG", "G_loss/total",
        "loss/generator", "Loss/generator", "Loss/Generator", "Generator Loss", "Generator loss",
    ),
}  # fmt: skip
"""Signal → the names of a scalar, in order of preference. The last two lines of each are those of tutorials."""


def parse_tags(text: str | None) -> dict[str, str]:
    """Returns signal → name from ``d_loss=NAME,g_loss=NAME``. Raises ``TrainingError``."""
    if text is None:
        return {}
    tags = dict(part.strip().partition("=")[::2] for part in text.split(","))
    if any(signal not in SIGNALS or not name for signal, name in tags.items()):
        raise TrainingError(f"--tags takes d_loss=NAME,g_loss=NAME, not {text!r}")
    return tags


def find_names(available: Iterable[str], tags: dict[str, str], where: str) -> dict[str, str]:
    """Returns name → signal for both losses. Raises ``TrainingError`` if a loss has no name that is known or given."""
    present = list(dict.fromkeys(available))
    found = {}
    for signal in SIGNALS:
        candidates = (tags[signal],) if signal in tags else KNOWN_NAMES[signal]
        name = next((name for name in candidates if name in present), None)
        if name is None:
            listed = ", ".join(present[:20]) + (" …" if len(present) > 20 else "")
            raise TrainingError(
                f"{where} has no scalar for {signal}: name it with --tags {signal}=NAME; it has {listed or 'none'}"
            )
        found[name] = signal
    return found
