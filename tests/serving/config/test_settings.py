"""Every setting has a range; an invalid value gives one sentence that names its variable."""

from pathlib import Path
from typing import get_args

import pytest

from models.store import StoreUrl
from serving.config.settings import Device, Settings, SettingsError, check_models, load_settings
from serving.inference.device import Devices, Hardware

pytestmark = pytest.mark.usefixtures("no_settings")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FIGMENT_MAX_BATCH", "0"),
        ("FIGMENT_MAX_BATCH", "many"),
        ("FIGMENT_MAX_IMAGES", "-1"),
        ("FIGMENT_QUEUE_IMAGES", "1.5"),
        ("FIGMENT_DEADLINE_SECONDS", "0"),
        ("FIGMENT_DEADLINE_SECONDS", "nan"),
        ("FIGMENT_DRAIN_SECONDS", "inf"),
        ("FIGMENT_KEEP_ALIVE_SECONDS", "0"),
        ("FIGMENT_LINGER_SECONDS", "-1"),
        ("FIGMENT_LINGER_SECONDS", "3601"),
        ("FIGMENT_DEVICE", "gpu"),
        ("FIGMENT_DEFAULT_MODEL", "../mlp"),
        ("FIGMENT_ENCODE_THREADS", "0"),
        ("FIGMENT_INTRA_OP_THREADS", "0"),
        ("FIGMENT_LOG_FORMAT", "xml"),
        ("FIGMENT_HEALTH_ROUTE", "ping"),
        ("FIGMENT_HEALTH_ROUTE", "/"),
        ("FIGMENT_HEALTH_ROUTE", "/ping/"),
        ("FIGMENT_PREDICT_ROUTE", "/models/{model}"),
        ("FIGMENT_PREDICT_ROUTE", "/predict?x=1"),
        ("FIGMENT_PREDICT_ROUTE", "https://example.com/predict"),
        ("FIGMENT_MAX_BATHC", "8"),
    ],
)
def test_invalid_setting_is_named(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    sentence = str(error.value)
    assert sentence.startswith(variable)
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_one_path_cannot_be_both_routes_of_a_platform(monkeypatch):
    monkeypatch.setenv("FIGMENT_HEALTH_ROUTE", "/figment")
    monkeypatch.setenv("FIGMENT_PREDICT_ROUTE", "/figment")
    with pytest.raises(SettingsError, match=r"^FIGMENT_PREDICT_ROUTE cannot be '/figment': FIGMENT_HEALTH_ROUTE has"):
        load_settings()


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("FIGMENT_MAX_BATCH", "8")
    monkeypatch.setenv("FIGMENT_DEFAULT_MODEL", "")
    settings = load_settings()
    assert settings.max_batch == 8
    assert settings.default_model is None


@pytest.mark.parametrize("value", ["", " ", "\n", ",", " , ,\n"])
@pytest.mark.parametrize("variable", ["FIGMENT_API_KEYS", "figment_api_keys"])
def test_empty_api_keys_do_not_start_an_open_service(monkeypatch, variable, value):
    """A missing or empty secret would otherwise open the service to all."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=r"^FIGMENT_API_KEYS: it is set and holds no key; [^\n]*\.$"):
        load_settings()


@pytest.mark.parametrize("value", ["two words", "one\ntwo", "tab\tkey", "esc\x1bkey", "good,two bad", "line\u2028end"])
def test_key_that_no_client_can_send_is_rejected_and_not_shown(monkeypatch, value):
    monkeypatch.setenv("FIGMENT_API_KEYS", value)
    with pytest.raises(SettingsError, match=r"^FIGMENT_API_KEYS: a key has no white space or control") as error:
        load_settings()
    assert value.split(",")[-1] not in str(error.value)


def test_keys_from_files_and_lists(monkeypatch):
    """A mounted secret ends in a newline."""
    for value, keys in (("key\n", ("key",)), (" a, b ,,\n", ("a", "b")), ("schl\xfcssel", ("schl\xfcssel",))):
        monkeypatch.setenv("FIGMENT_API_KEYS", value)
        assert load_settings().api_keys == keys


def test_other_empty_settings_count_as_unset(monkeypatch):
    """Compose files and charts write ``FIGMENT_X=`` for a value that is not given."""
    others = {name: f"FIGMENT_{name.upper()}" for name in Settings.model_fields if name != "api_keys"}
    for variable in others.values():
        monkeypatch.setenv(variable, "")
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    "value",
    [
        "*",
        "https://example.com",
        "http://localhost:8080, https://a.example:8443",
        "http://[::1]:3000",
        "https://xn--bcher-kva.example",
        "chrome-extension://abcdefghijklmnop",
    ],
)
def test_origins_that_browsers_send(monkeypatch, value):
    monkeypatch.setenv("FIGMENT_CORS_ORIGINS", value)
    assert load_settings().cors_origins == tuple(value.split(", "))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://example.com/", "no path or slash at the end"),
        ("https://example.com/gallery", "no path"),
        ("example.com", "'example.com' has no scheme"),
        ("localhost:8080", "has no scheme"),
        ("https://*.example.com", "wildcard"),
        ("*, https://example.com", "stands alone"),
        ("*.example.com", "wildcard"),
        ("null", "sandboxed"),
        ("https://Example.com", "lower case"),
        ("HTTPS://example.com", "lower case"),
        ("https://b\xfccher.example", "browsers send no"),
        ("https://example.com:443", "own port"),
        ("http://example.com:80", "own port"),
        ("https://example.com:", "browsers send no"),
        ("https://", "browsers send no"),
        ("https://user@example.com", "browsers send no"),
        ("https://good.example, bad.example", "'bad.example' has no scheme"),
        (",", "at least one origin"),
        (" ", "at least one origin"),
    ],
)
def test_origin_that_can_never_match_is_rejected_at_the_start(monkeypatch, value, expected):
    monkeypatch.setenv("FIGMENT_CORS_ORIGINS", value)
    with pytest.raises(SettingsError, match=r"^FIGMENT_CORS_ORIGINS cannot be ") as error:
        load_settings()
    assert expected in str(error.value)
    assert str(error.value).endswith(".")
    assert "Value error" not in str(error.value)


def test_file_is_no_folder_of_bundles(tmp_path):
    (tmp_path / "zoo").write_text("")
    with pytest.raises(SettingsError, match=r"^FIGMENT_MODELS must be a folder of bundles, and /.*/zoo is none\.$"):
        check_models(tmp_path / "zoo")
    check_models(tmp_path)
    check_models(tmp_path / "not mounted yet")


def test_every_device_of_the_setting_is_known_to_inference():
    for device in get_args(Device):
        Devices(device, Hardware(intra_op_threads=1))


def test_every_setting_is_described():
    assert all(field.description for field in Settings.model_fields.values())


def test_models_are_a_folder_or_a_url(monkeypatch):
    for value, expected in (
        ("zoo", Path("zoo")),
        ("file:///srv/zoo", Path("/srv/zoo")),
        ("s3://bucket/zoo/", StoreUrl("s3", "s3://bucket/zoo")),
    ):
        monkeypatch.setenv("FIGMENT_MODELS", value)
        assert load_settings().models == expected
    monkeypatch.setenv("FIGMENT_MODELS", "file://zoo")
    with pytest.raises(
        SettingsError, match=r"^FIGMENT_MODELS: file://zoo has no absolute path; write it like file:///"
    ):
        load_settings()


def test_password_in_a_url_is_in_no_error_and_no_representation(monkeypatch):
    monkeypatch.setenv("FIGMENT_MODELS", "https://me:pa55@host/zoo?token=1")
    with pytest.raises(SettingsError, match=r"^FIGMENT_MODELS: https://me:\*\*\*@host/zoo\?token=1 is no URL") as error:
        load_settings()
    assert "pa55" not in str(error.value)
    monkeypatch.setenv("FIGMENT_MODELS", "https://me:pa55@host/zoo")
    assert "pa55" not in repr(load_settings())
