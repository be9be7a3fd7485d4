"""A small configuration of every network family, for tests that hold for all of them."""

from typing import Any

import pytest

SMALL_NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"noise_dim": 8, "width": 16, "depth": 2},
    "dcgan": {"noise_dim": 8, "width": 4},
    "sngan": {"noise_dim": 8, "generator_width": 8, "discriminator_width": 8},
    "biggan": {"noise_dim": 8, "width": 2, "embedding_dim": 4, "attention": 8},
}


@pytest.fixture(scope="session")
def small_networks() -> dict[str, dict[str, Any]]:
    """Every one of ``SMALL_NETWORKS``."""
    return SMALL_NETWORKS


@pytest.fixture(params=SMALL_NETWORKS)
def small_network(request: pytest.FixtureRequest) -> Any:
    """One family's small configuration after another."""
    # Imported here, for the service's tests need no torch.
    from pydantic import TypeAdapter

    from models.networks import NetworkConfig

    return TypeAdapter(NetworkConfig).validate_python({"family": request.param} | SMALL_NETWORKS[request.param])
