"""The simulated Prometheus answers the shipped queries as the real one does."""

import math
import os
import shutil
import subprocess
from collections import deque

import numpy as np
import pytest
import yaml

from benchmarks.scaling.prometheus import (
    QUEUED,
    WAIT,
    Sample,
    cpu_utilization,
    histogram_quantile,
    measure_of,
    queue_wait_p95,
    queued_images,
    rate,
)
from serving.metrics import DURATION_SECONDS
from tests.deploy.manifests import ROOT

SCRAPES = 13  # one every 15 s, from 0 to 180 s


@pytest.fixture
def series():
    """Random samples of three replicas; the last has started late."""
    random = np.random.RandomState(0)
    rates = [20] * 9 + [2] * 3 + [0] * (len(DURATION_SECONDS) - 11)  # the 95th percentile is inside of a bucket
    made = []
    for first in (0, 0, 9):
        counts = np.cumsum(random.poisson(rates, (SCRAPES, len(rates))), axis=0)
        made.append(
            deque(
                Sample(15.0 * index, int(random.poisson(40)), index * 12.0, 2, tuple(np.cumsum(counts[index]).tolist()))
                for index in range(first, SCRAPES)
            )
        )
    return made


def promtool_series(series):
    """The same samples in the notation of promtool's unit tests; ``_`` is no sample."""
    inputs = []

    def add(name, values):
        missing = ["_"] * (SCRAPES - len(values))
        inputs.append({"series": name, "values": " ".join([*missing, *map(str, values)])})

    for index, samples in enumerate(series):
        labels = f'namespace="figment",pod="{index}"'
        add(f"figment_queued_images{{{labels}}}", [sample.queued_images for sample in samples])
        for bucket, bound in enumerate([*DURATION_SECONDS, "+Inf"]):
            name = f'figment_queue_wait_seconds_bucket{{{labels},le="{bound}"}}'
            add(name, [sample.wait_counts[bucket] for sample in samples])
    return inputs


@pytest.mark.parametrize("window", ["30s", "1m", "2m"])
@pytest.mark.parametrize("template", [QUEUED, WAIT], ids=["queued", "wait"])
def test_queries_give_what_prometheus_gives(template, window, series, tmp_path):
    if not shutil.which("promtool") and "NOTHING_SKIPPED" not in os.environ:
        pytest.skip("promtool is not installed")
    # promtool compares to the last digit, so it is asked whether its answer lies around ours.
    query = template.replace("WINDOW", window)
    now = 187  # between two scrapes: Prometheus 2 and 3 differ about a sample at the very start of a window
    found = measure_of(query)(series, now)
    assert found > 0
    assert found not in DURATION_SECONDS
    expression = f"abs(({query}) / {found!r} - 1) < bool 1e-9"
    expected = {"expr": expression, "eval_time": f"{now}s", "exp_samples": [{"labels": "{}", "value": 1}]}
    test = {"interval": "15s", "input_series": promtool_series(series), "promql_expr_test": [expected]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "test.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_requests_count_as_no_wait():
    idle = deque(Sample(15.0 * index, 0, 0.0, 2, (0.0,) * (len(DURATION_SECONDS) + 1)) for index in range(9))
    assert queue_wait_p95([idle], 120, 60) == 0
    assert queue_wait_p95([], 120, 60) == queued_images([], 120, 60) == cpu_utilization([], 120) == 0


def test_rate_and_quantile_of_a_few_samples():
    assert rate([0.0], [5.0], 15, 60) is None
    # 30 in 30 s; 15 s to either end of the window are extrapolated, 15 s back the counter was at zero.
    assert rate([15.0, 45.0], [15.0, 45.0], 60, 60) == pytest.approx(1.0)
    assert histogram_quantile(0.5, (1.0, 2.0), (0.0, 4.0, 4.0)) == 1.5
    assert histogram_quantile(0.99, (1.0, 2.0), (0.0, 0.0, 4.0)) == 2.0
    assert math.isnan(histogram_quantile(0.5, (1.0,), (0.0, 0.0)))


def test_the_processor_counts_between_the_last_two_scrapes(series):
    """12 of 15 s on two cores: 40 %. A replica that has gone does not count any more."""
    assert cpu_utilization(series, 180) == pytest.approx(40)
    gone = deque([Sample(0.0, 0, 0.0, 2, ()), Sample(15.0, 0, 30.0, 2, ())])
    assert cpu_utilization([*series, gone], 180) == pytest.approx(40)


def test_samples_are_as_far_apart_as_the_shipped_ones():
    monitor = yaml.safe_load(
        (ROOT / "deploy" / "kubernetes" / "components" / "monitoring" / "service-monitor.yaml").read_text()
    )
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["interval"] == "15s"
