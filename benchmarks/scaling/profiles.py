"""What one core and one GPU take for the generators that ship: ``measured.json``, written from ``measure.py``."""

from pathlib import Path

from pydantic import Field

from benchmarks.scaling.replica import Device
from models.strict import StrictModel

MEASURED = Path(__file__).with_name("measured.json")


class Generator(StrictModel):
    """The times of one generator."""

    batch_seconds: dict[int, float]
    """Of a batch of each size: processor seconds of one core, or seconds of a GPU."""
    request_seconds: float | None = None
    """Processor seconds of the whole service for a request of one PNG, inference included; not for a GPU."""
    image_bytes: int | None = None
    """Mean size of a PNG."""


class Service(StrictModel):
    """What does not depend on the generator."""

    header_bytes: int
    """Of the head of a response with one image."""
    series: int
    """That Prometheus reads from one replica with three generators."""


class Machine(StrictModel):
    """What was measured on, and the times by generator."""

    machine: str
    generators: dict[str, Generator]
    service: Service | None = None


class Profiles(StrictModel):
    """Everything that was measured. ``gpu`` is None as long as no GPU has been measured."""

    cpu: Machine
    gpu: Machine | None = Field(default=None)

    def host_seconds(self, generator: str) -> float:
        """Returns the processor seconds of a request beside inference in full batches: HTTP and PNG."""
        times = self.cpu.generators[generator]
        assert times.request_seconds is not None
        largest = max(times.batch_seconds)
        return times.request_seconds - times.batch_seconds[largest] / largest

    def image_bytes(self, generator: str) -> int:
        """Returns the mean size of a generator's PNG."""
        size = self.cpu.generators[generator].image_bytes
        assert size is not None
        return size

    def cpu_device(self, generator: str, cores: int) -> Device:
        """Returns a replica's cores, each with its own batches."""
        return Device(self.cpu.generators[generator].batch_seconds, self.host_seconds(generator), cores)

    def gpu_device(self, generator: str, cores: int) -> Device | None:
        """Returns one GPU with the cores of its host, or None if none has been measured."""
        if self.gpu is None:
            return None
        return Device(self.gpu.generators[generator].batch_seconds, self.host_seconds(generator), cores, on_gpu=True)


def load_profiles(path: Path = MEASURED) -> Profiles:
    """Reads what was measured."""
    return Profiles.model_validate_json(path.read_text())
