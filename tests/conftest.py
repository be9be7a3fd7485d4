"""Small configurations of every network family, for tests that all families must pass."""

from typing import Any

import pytest

SMALL_NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"noise_dim": 8, "width": 16, "depth": 2},
    "dcgan": {"noise_dim": 8, "width": 4},
    "sngan": {"noise_dim": 8, "generator_width": 8, "discriminator_width": 8},
    "biggan": {"noise_dim": 8, "width": 2, "embedding_dim": 4, "attention": 8},
    "stylegan2": {
        "noise_dim": 8,
        "style_dim": 8,
        "mapping_layers": 1,
        "width": 4,
        "max_width": 8,
        "deviation_group": 4,
    },
    "r3gan": {"noise_dim": 8, "width": 4, "max_width": 8, "group_width": 4},
}


@pytest.fixture(scope="session")
def small_networks() -> dict[str, dict[str, Any]]:
    """Returns all of ``SMALL_NETWORKS``."""
    return SMALL_NETWORKS


@pytest.fixture(params=SMALL_NETWORKS)
def small_network(request: pytest.FixtureRequest) -> Any:
    """Runs the test once for each family's small configuration."""
    # Imported here: the service's tests need no torch.
    from pydantic import TypeAdapter

    from models.networks import NetworkConfig

    return TypeAdapter(NetworkConfig).validate_python({"family": request.param} | SMALL_NETWORKS[request.param])
