"""The models in the metrics are those that are loaded, in one process and over several."""

import os
import subprocess
import sys

from prometheus_client.parser import text_string_to_metric_families

from serving.metrics import Metrics

OLD, NEW = ("mlp", "1", "cpu", "0" * 64), ("mlp", "2", "cpu", "1" * 64)

# A worker and a second one, which is forked, that unload the same model one after the other.
TWO_WORKERS = """
import os
from serving.metrics import Metrics

old, new = {old}, {new}

def shown():
    lines = metrics.exposition().decode().splitlines()
    return sorted(line for line in lines if line.startswith("figment_model_info{{"))

def swap():
    metrics.forget_model(*old)
    metrics.model_info.labels(*new).set(1)

metrics = Metrics()
metrics.model_info.labels(*old).set(1)
(loaded, tell_loaded), (go, tell_go), (done, tell_done) = os.pipe(), os.pipe(), os.pipe()
if not os.fork():
    metrics.model_info.labels(*old).set(1)
    os.write(tell_loaded, b"1")
    os.read(go, 1)
    swap()
    os.write(tell_done, b"1")
    os.read(go, 1)
    os._exit(0)
os.read(loaded, 1)
swap()
print(len(shown()))
os.write(tell_go, b"1")
os.read(done, 1)
print(*shown())
os.write(tell_go, b"1")
os.wait()
"""


def shown(exposition):
    (family,) = [
        family for family in text_string_to_metric_families(exposition.decode()) if family.name == "figment_model_info"
    ]
    return [(sample.labels["version"], sample.value) for sample in family.samples]


def test_an_unloaded_model_is_gone(monkeypatch):
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    metrics = Metrics()
    metrics.model_info.labels(*OLD).set(1)
    metrics.remove_model(*OLD)
    metrics.model_info.labels(*NEW).set(1)
    assert shown(metrics.exposition()) == [("2", 1.0)]


def test_a_model_is_gone_once_every_worker_has_unloaded_it(tmp_path):
    result = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", TWO_WORKERS.format(old=OLD, new=NEW)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    both, after = result.stdout.splitlines()
    assert both == "2", "the other worker still has the old one"
    assert 'version="2"' in after
    assert after.endswith("} 1.0")
    assert 'version="1"' not in after
