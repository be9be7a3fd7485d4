"""Variables that Kubernetes and Docker set for a service named figment stop no start; misspelt settings still do."""

import pytest

from serving.config.service_links import is_service_link
from serving.config.settings import PREFIX, Settings, SettingsError, load_settings

pytestmark = pytest.mark.usefixtures("no_settings")

# As kubelet sets them for the Services figment (with a named port) and figment-gpu-0 (also UDP).
KUBERNETES = {
    "FIGMENT_SERVICE_HOST": "10.96.11.7",
    "FIGMENT_SERVICE_PORT": "3000",
    "FIGMENT_SERVICE_PORT_HTTP_METRICS": "3000",
    "FIGMENT_PORT": "tcp://10.96.11.7:3000",
    "FIGMENT_PORT_3000_TCP": "tcp://10.96.11.7:3000",
    "FIGMENT_PORT_3000_TCP_PROTO": "tcp",
    "FIGMENT_PORT_3000_TCP_PORT": "3000",
    "FIGMENT_PORT_3000_TCP_ADDR": "10.96.11.7",
    "FIGMENT_GPU_0_SERVICE_HOST": "fd00::7",
    "FIGMENT_GPU_0_SERVICE_PORT": "53",
    "FIGMENT_GPU_0_PORT": "udp://[fd00::7]:53",
    "FIGMENT_GPU_0_PORT_53_UDP": "udp://[fd00::7]:53",
    "FIGMENT_GPU_0_PORT_53_UDP_PROTO": "udp",
    "FIGMENT_GPU_0_PORT_53_UDP_PORT": "53",
    "FIGMENT_GPU_0_PORT_53_UDP_ADDR": "fd00::7",
}
# As Docker sets them for `--link other:figment`: the linked image has a range of ports, and variables.
DOCKER = {
    "FIGMENT_NAME": "/proxy/figment",
    "FIGMENT_PORT": "tcp://172.17.0.2:3000",
    "FIGMENT_PORT_3000_TCP_START": "tcp://172.17.0.2:3000",
    "FIGMENT_PORT_3000_TCP_END": "tcp://172.17.0.2:3010",
    "FIGMENT_PORT_3000_TCP_PORT_START": "3000",
    "FIGMENT_PORT_3000_TCP_PORT_END": "3010",
    "FIGMENT_ENV_FIGMENT_LOG_FORMAT": "json",
    "FIGMENT_ENV_lower": "any\nthing",
}


@pytest.mark.parametrize("links", [KUBERNETES, DOCKER])
def test_service_links_are_ignored(monkeypatch, links):
    for name, value in links.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FIGMENT_MAX_BATCH", "8")
    assert load_settings().max_batch == 8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FIGMENT_PORT", "3000"),  # a misunderstanding: the port is no setting
        ("FIGMENT_PORT", "tcp"),
        ("FIGMENT_SERVICE_PORT", "http"),
        ("FIGMENT_SERVICE", "10.0.0.1"),
        ("FIGMENT_HOST", "10.0.0.1"),
        ("FIGMENT_NAME", "figment"),
        ("FIGMENT_MODEL_NAME", "digits"),
        ("FIGMENT_DEFAULT_MODEL_NAME", "digits"),
        ("FIGMENT_ENV_A", "of no link: its NAME is missing"),
        ("FIGMENT_PORT_3000_TCP_ADDRESS", "10.0.0.1"),
        ("FIGMENT_MAX_BATHC", "8"),
        ("FIGMENT_SERVICE_HOST", ""),
    ],
)
def test_variable_that_only_resembles_a_link_is_rejected(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name} is not a setting"):
        load_settings()


@pytest.mark.parametrize("value", sorted({*KUBERNETES.values(), *DOCKER.values()}))
def test_no_setting_has_the_name_of_a_link(value):
    """Otherwise another service could set it, or hide a misspelling."""
    environment = {PREFIX + name.upper(): value for name in Settings.model_fields} | DOCKER
    assert not [name for name in environment.keys() - DOCKER.keys() if is_service_link(name, environment)]
