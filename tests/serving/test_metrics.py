"""``figment_model_info`` shows the loaded models, in one process and merged over several; drop reasons are one list."""

import os
import subprocess
import sys

from prometheus_client.parser import text_string_to_metric_families

from serving.metrics import DROP_REASONS, Metrics

OLD, NEW = ("mlp", "1", "cpu", "0" * 64), ("mlp", "2", "cpu", "1" * 64)

# Two workers (the second is forked) unload the same model, one after the other.
TWO_WORKERS = """
import os
from serving.metrics import Metrics

old, new = {old}, {new}

def shown():
    lines = metrics.exposition().decode().splitlines()
    return sorted(line for line in lines if line.startswith("figment_model_info{{"))

def swap():
    metrics.remove_model(*old)
    metrics.model_info.labels(*new).set(1)

metrics = Metrics()
metrics.model_info.labels(*old).set(1)
(loaded, send_loaded), (go, send_go), (done, send_done) = os.pipe(), os.pipe(), os.pipe()
if not os.fork():
    metrics.model_info.labels(*old).set(1)
    os.write(send_loaded, b"1")
    os.read(go, 1)
    swap()
    os.write(send_done, b"1")
    os.read(go, 1)
    os._exit(0)
os.read(loaded, 1)
swap()
print(len(shown()))
os.write(send_go, b"1")
os.read(done, 1)
print(*shown())
os.write(send_go, b"1")
os.wait()
"""


# Two workers hold memory and files; the second, a fork, starts a second later and then ends without a word.
TWO_PROCESSES = """
import os, time
from serving.metrics import Metrics

def shown():
    lines = metrics.exposition().decode().splitlines()
    print(*(line.replace(" ", "=") for line in lines if line.startswith("process_")))

metrics = Metrics()
metrics.ready.set(1)
shown()
(ready, send_ready), (end, send_end) = os.pipe(), os.pipe()
time.sleep(1)
pid = os.fork()
if not pid:
    metrics.ready.set(1)
    os.write(send_ready, b"1")
    os.read(end, 1)
    os._exit(0)
os.read(ready, 1)
shown()
os.write(send_end, b"1")
os.waitpid(pid, 0)
shown()
"""


def shown_models(exposition):
    (family,) = [
        family for family in text_string_to_metric_families(exposition.decode()) if family.name == "figment_model_info"
    ]
    return [(sample.labels["version"], sample.value) for sample in family.samples]


def test_unloaded_model_is_removed(monkeypatch):
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    metrics = Metrics()
    metrics.model_info.labels(*OLD).set(1)
    metrics.remove_model(*OLD)
    metrics.model_info.labels(*NEW).set(1)
    assert shown_models(metrics.exposition()) == [("2", 1.0)]


def test_model_is_removed_once_every_worker_has_unloaded_it(tmp_path):
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
    assert both == "2", "the other worker still serves the old version"
    assert 'version="2"' in after
    assert after.endswith("} 1.0")
    assert 'version="1"' not in after


def test_workers_count_as_one_process(tmp_path):
    """Whichever worker answers the scrape, memory and files are the sum of all, and the last start is the newest."""
    result = subprocess.run(
        [sys.executable, "-c", TWO_PROCESSES],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    one, two, after = (
        {name: float(value) for name, value in (pair.split("=") for pair in line.split())}
        for line in result.stdout.splitlines()
    )
    memory, files, max_files, start = (
        f"process_{name}" for name in ("resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds")
    )
    assert two[memory] > 1.2 * one[memory]
    assert two[files] >= 2 * one[files]
    assert two[max_files] == 2 * one[max_files]
    assert 0.5 < two[start] - one[start] < 60
    assert (after[max_files], after[start]) == (one[max_files], one[start]), "the other worker has ended"


def test_help_of_dropped_images_lists_every_reason():
    (family,) = Metrics().dropped_images.collect()
    assert DROP_REASONS == ("queue_full", "deadline", "disconnected", "draining"), "operators filter by these values"
    assert all(reason in family.documentation for reason in DROP_REASONS)
