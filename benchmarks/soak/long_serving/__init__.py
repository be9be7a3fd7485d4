"""A long run of the service: a million mixed requests, and five hundred reloads of a bundle."""

from pathlib import Path

from benchmarks.soak.long_serving.million import serve_mixture
from benchmarks.soak.long_serving.reloads import reload_bundle
from benchmarks.soak.outcome import Outcome


def run(smoke: bool, work: Path) -> list[Outcome]:
    """Runs both parts, one after the other."""
    return [*serve_mixture(smoke, work / "mixture"), *reload_bundle(smoke, work / "reloads")]
