"""Stores with bundles, on this machine."""

import pytest

from models.store import StoreUrl
from serving.remote.source import RemoteBundles
from tests.stores import s3_server, web_server
from training.publishing.push import push


@pytest.fixture
def web(tmp_path):
    """A web server; ``push`` to its folder publishes."""
    (tmp_path / "www" / "zoo").mkdir(parents=True)
    with web_server(tmp_path / "www") as server:
        yield server


@pytest.fixture(scope="session")
def s3_environment():
    with s3_server() as environment:
        yield environment


@pytest.fixture
def s3(s3_environment, monkeypatch, request):
    """The URL of an empty folder in a bucket of S3."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://bundles/{request.node.name}".replace("[", "-").replace("]", "")


@pytest.fixture
def publish(tmp_path, generators):
    """Returns a function that publishes a small generator below a URL, and returns the bundle's folder here."""

    def publish(url, name="mlp", version=1, **options):
        root = tmp_path / f"made-{len([*tmp_path.iterdir()])}"
        folder = generators.ship(root, name, version, generators.mlp(**options))
        push(folder, url)
        return folder

    return publish


@pytest.fixture
def follow(tmp_path):
    """Returns a function that follows a URL with a cache of the test."""
    return lambda url, stall_seconds=20.0: RemoteBundles(StoreUrl.parse(url), tmp_path / "cache", stall_seconds)
