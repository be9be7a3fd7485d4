"""What ``docker compose up`` needs is in the checkout, and the three services fit together."""

import json

import pytest
import yaml

from serving.config.settings import Settings
from tests.deploy.conftest import DEPLOY

GRAFANA_PROVISIONING = DEPLOY / "grafana" / "provisioning"


def read(name):
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.fixture
def services():
    return read("compose.yaml")["services"]


def mounts(service):
    """Returns container path → path in the checkout."""
    pairs = [volume.split(":")[:2] for volume in service.get("volumes", []) if volume.startswith("./")]
    return {inside: (DEPLOY / outside).resolve() for outside, inside in pairs}


def in_checkout(service, path):
    """Returns the file of the checkout that a container sees at a path."""
    (found,) = [outside / path.removeprefix(f"{inside}/") for inside, outside in mounts(service).items()
                if path.startswith(f"{inside}/")]  # fmt: skip
    return found


def test_every_configuration_is_where_its_program_looks(services):
    prometheus, grafana = services["prometheus"], services["grafana"]
    (config,) = [argument for argument in prometheus["command"] if argument.startswith("--config.file=")]
    config = in_checkout(prometheus, config.partition("=")[2])
    assert config == DEPLOY / "prometheus" / "prometheus.yaml"
    for name in yaml.safe_load(config.read_text())["rule_files"]:
        assert (config.parent / name).is_file()
    assert mounts(grafana)["/etc/grafana/provisioning"] == GRAFANA_PROVISIONING
    provider = read("grafana/provisioning/dashboards/figment.yaml")["providers"][0]["options"]["path"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider}/figment.json"
    assert json.loads(in_checkout(grafana, home).read_text())["uid"] == "figment"


def test_addresses_name_services_and_their_ports(services):
    (scrape,) = read("prometheus/prometheus.yaml")["scrape_configs"]
    assert scrape["job_name"] == "figment", "the rules select up{job='figment'}"
    assert scrape["static_configs"] == [{"targets": ["figment:3000"]}]
    (source,) = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == read("prometheus/prometheus.yaml")["global"]["scrape_interval"]
    published = {name: [port.split(":") for port in service["ports"]] for name, service in services.items()}
    assert published == {
        "figment": [["3000", "3000"]],
        "prometheus": [["127.0.0.1", "9090", "9090"]],
        "grafana": [["127.0.0.1", "3001", "3000"]],
    }


def test_containers_have_few_rights_and_the_service_time_to_drain(services):
    assert all(service["cap_drop"] == ["ALL"] for service in services.values())
    figment, settings = services["figment"], Settings()
    assert (figment["read_only"], figment["tmpfs"]) == (True, ["/tmp"])
    grace = int(figment["stop_grace_period"].removesuffix("s"))
    assert grace > settings.linger_seconds + settings.drain_seconds + 1


def test_images_have_a_version_each(services):
    images = {service["image"].split(":")[0]: service["image"].split(":")[1] for service in services.values()}
    assert images.keys() == {"figment", "prom/prometheus", "grafana/grafana"}
    assert "latest" not in images.values()


def test_the_gpu_file_changes_the_service_alone(services):
    (gpu,) = read("compose.gpu.yaml")["services"].items()
    assert gpu[0] == "figment"
    assert gpu[1]["build"]["args"] == {"DEVICE": "gpu"}
    assert Settings(device=gpu[1]["environment"]["FIGMENT_DEVICE"]).device == "cuda"
    assert gpu[1]["image"] != services["figment"]["image"]
