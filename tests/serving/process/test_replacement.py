"""The parent replaces a worker that ends at once, not after BentoML's ten seconds, and says how it ended."""

import os
import signal
import time

import httpx
import psutil
import pytest

from serving.process import replacement


def workers(server):
    children = psutil.Process(server.process.pid).children(recursive=True)
    alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if "serving.worker" in child.cmdline()]


def test_a_killed_worker_is_replaced_at_once(serve, zoo):
    with serve(models=zoo) as server:
        server.wait(lambda answer: answer.status_code == 200)
        (worker,) = workers(server)
        worker.kill()
        killed = time.monotonic()
        server.until(lambda: f"Worker {worker.pid} was killed by SIGKILL" in server.log, 5)
        server.until(lambda: bool(workers(server)), 5)
        assert time.monotonic() - killed < 5
        server.wait(lambda answer: answer.status_code == 200)
        assert httpx.get(f"{server.url}/images/mlp/1.png").status_code == 200
        assert server.process.poll() is None
    assert server.process.returncode == 0


def test_a_stop_reports_no_death(serve, zoo):
    with serve(models=zoo, workers=2) as server:
        server.wait(lambda answer: answer.status_code == 200)
    assert "Worker" not in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (signal.SIGTERM, "was killed by SIGTERM"),
        (signal.SIGKILL, "by the kernel: the memory limit is too low"),
        (3 << 8, "ended with status 3"),
        (0, "ended with status 0"),
    ],
)
def test_the_sentence_says_how_the_worker_ended(status, sentence):
    assert os.WIFSIGNALED(status) == (0 < status < 128)
    assert sentence in replacement._end(status)
