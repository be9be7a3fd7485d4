"""Settings: each has a range, and a wrong value is one sentence that names its variable."""

import os

import pytest

from serving.settings import Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in os.environ:
        if name.startswith("FIGMENT_"):
            monkeypatch.delenv(name)


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
        ("FIGMENT_MAX_BATHC", "8"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    sentence = str(error.value)
    assert sentence.startswith(variable)
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("FIGMENT_MAX_BATCH", "8")
    monkeypatch.setenv("FIGMENT_DEFAULT_MODEL", "")
    settings = load_settings()
    assert settings.max_batch == 8
    assert settings.default_model is None


@pytest.mark.parametrize(
    ("limit", "threads"), [("200000 100000\n", 2), ("250000 100000\n", 3), ("50000 100000\n", 1), ("max 100000\n", 8)]
)
def test_a_container_is_given_no_more_threads_than_its_share_of_the_cores(monkeypatch, tmp_path, limit, threads):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr("serving.settings._CPU_MAX", tmp_path / "cpu.max")
    settings = load_settings()
    assert (settings.intra_op_threads, settings.encode_threads) == (threads, threads)
    monkeypatch.setattr("serving.settings._CPU_MAX", tmp_path / "nowhere")
    assert load_settings().intra_op_threads == 8


def test_every_setting_is_described():
    assert all(field.description for field in Settings.model_fields.values())
