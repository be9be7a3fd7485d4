"""Reads the networks of another run, for a run that starts from them (``fit --init-from``)."""

from pathlib import Path

from models.bundle import DatasetRecord, ImageSpec
from models.networks import build_discriminator, build_generator
from training.config.schema import Config
from training.errors import TrainingError
from training.loop.matching import mismatches
from training.runs.folder import RunFolder
from training.runs.initial_networks import InitialNetworks
from training.runs.resuming import resume_point


def networks_of_run(path: Path, config: Config) -> InitialNetworks:
    """Returns the networks of a run at its newest checkpoint, whether it still trains or not.

    Raises ``TrainingError`` if there is none, or if they are of another family or size than ``config`` asks for. What
    depends on the number of labels or of channels may differ.
    """
    run = RunFolder.open(path)
    checkpoint = resume_point(run)
    if checkpoint is None:
        raise TrainingError(
            f"--init-from {path}: the run holds no checkpoint yet; wait for its first, or go on with it: "
            f"python -m training resume {path}"
        )
    dataset = DatasetRecord(name=run.data.name, fingerprint=run.data.fingerprint, images=run.data.images)
    networks = InitialNetworks.of(path, run.config.name, dataset, checkpoint)
    differences = _size_differences(run.config, config)
    if differences and (run.config.network.family != config.network.family or not _fits(networks, run, config)):
        remedy = " ".join(f"--set {key}={there}" for key, (there, _) in differences.items())
        named = "; ".join(f"{key} is {there} there, {here} here" for key, (there, here) in differences.items())
        raise TrainingError(
            f"--init-from {path}: its networks are of another family or size: {named}. Take its sizes: {remedy}; or "
            "start without --init-from"
        )
    return networks


def _size_differences(there: Config, here: Config) -> dict[str, tuple[object, object]]:
    """Returns the settings of the networks that differ: dotted key → (value there, value here)."""
    if there.network.family != here.network.family:
        return {"network.family": (there.network.family, here.network.family)}
    found = {
        f"network.{key}": (value, getattr(here.network, key))
        for key, value in there.network.model_dump().items()
        if value != getattr(here.network, key)
    }
    if there.data.resolution != here.data.resolution:
        found["data.resolution"] = (there.data.resolution, here.data.resolution)
    return found


def _fits(networks: InitialNetworks, run: RunFolder, config: Config) -> bool:
    """Whether networks of this configuration would fit whole, had they the labels and channels of the other run."""
    side = config.data.resolution
    image = ImageSpec(height=side, width=side, channels=run.config.data.channels)
    try:
        generator = build_generator(config.network, image, run.labels)
        discriminator = build_discriminator(config.network, image, run.labels)
    except ValueError as error:
        raise TrainingError(str(error)) from error
    left = mismatches(generator.state_dict(), networks.generator)
    return not (left or mismatches(discriminator.state_dict(), networks.discriminator))
