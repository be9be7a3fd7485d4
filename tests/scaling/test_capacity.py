"""Capacities, costs and limits, against sums done by hand."""

import math

import pytest

from benchmarks.scaling import assumptions, capacity, limits, regions
from benchmarks.scaling.autoscaler import shipped_rules
from benchmarks.scaling.profiles import Generator, Machine, Profiles, Service
from benchmarks.scaling.replica import Device

PROFILES = Profiles(
    cpu=Machine(
        machine="a test",
        generators={
            "tiny": Generator(batch_seconds={1: 0.0, 64: 0.0}, request_seconds=0.0002, image_bytes=1000),
            "digits": Generator(batch_seconds={1: 0.001, 64: 0.032}, request_seconds=0.001, image_bytes=1000),
            "cifar10": Generator(batch_seconds={1: 0.002, 64: 0.096}, request_seconds=0.002, image_bytes=2500),
        },
        service=Service(header_bytes=200, series=500),
    )
)
RULES = shipped_rules()


@pytest.fixture
def target():
    return capacity.cpu_target(RULES)


def with_gpu(seconds):
    generators = dict.fromkeys(("digits", "cifar10"), Generator(batch_seconds={1: seconds, 64: seconds}))
    return PROFILES.model_copy(update={"gpu": Machine(machine="a test", generators=generators)})


def test_what_machines_serve():
    row = capacity.serving_rows(PROFILES)[1]
    assert (row["generator"], row["core"], row["replica"], row["box"]) == ("cifar10", 500, 1000, 8000)
    assert row["box_processes"] == 2, "one process answers 5000 requests a second"
    assert row["gpu"] is None


def test_a_gpu_serves_what_its_process_can_answer():
    slow, fast = with_gpu(0.064), with_gpu(0.001)
    assert capacity.gpu_requests(slow, "cifar10") == pytest.approx(1000)
    assert capacity.gpu_requests(fast, "cifar10") == pytest.approx(5000), "64 000 images a second, 5000 requests"


def test_a_gpu_beside_cores_and_its_host():
    row = capacity.gpu_rows(with_gpu(0.001))[1]
    assert (row["generator"], row["images"]) == ("cifar10", pytest.approx(64_000))
    assert row["cores"] == pytest.approx(96), "a core takes 96 ms for a batch"
    assert row["needed"] == pytest.approx(5000 / 64_000)
    assert row["host"] == pytest.approx(5000 * 0.0005 / 4), "4 cores, each 0.5 ms a request beside inference"
    assert row["queue_seconds"] == pytest.approx(2048 / 64_000)
    assert capacity.gpu_rows(with_gpu(0.064))[1]["needed"] == 1


def test_a_million_images_cost(target):
    row = next(
        row
        for row in capacity.cost_rows(PROFILES, RULES)
        if row["replica"] == "2 cores" and row["generator"] == "cifar10"
    )
    hours = 1_000_000 / (1000 * target) / 3600
    assert row["computing"] == pytest.approx(hours * 2 * assumptions.USD_PER_CORE_HOUR)
    assert row["egress"] == pytest.approx(
        (2500 + 200 + assumptions.TRANSPORT_BYTES) / 1000 * assumptions.USD_PER_EGRESS_GB
    )
    assert capacity.cached_cost(row, 1.0) == row["cdn"]
    assert capacity.cached_cost(row, 0.0) == pytest.approx(row["cdn"] + row["computing"] + row["egress"])


def test_without_a_gpu_nothing_is_invented():
    rows = [row for row in capacity.cost_rows(PROFILES, RULES) if row["replica"] == "1 GPU"]
    assert [row["computing"] for row in rows] == [None, None]
    assert [capacity.cached_cost(row, 0.5) for row in rows] == [None, None]
    assert capacity.gpu_rows(PROFILES) == []
    assert all(row["cifar10 GPU"] is None for row in capacity.batch_rows(PROFILES))


def test_a_batch_takes_http_and_png_with_it_on_a_cpu():
    device = PROFILES.cpu_device("cifar10", 2)
    assert device.host_seconds == pytest.approx(0.0005)
    assert device.capacity == pytest.approx(1000), "two cores, each 2 ms a request"


def test_the_first_limit_to_break(target):
    base = limits.base_rate(PROFILES, RULES)
    assert base == pytest.approx(1000 * target)
    assert limits.replicas(PROFILES, RULES, 10 * base) == 10
    by_name = {limit.name: limit for limit in limits.limits(PROFILES, RULES)}
    assert by_name["replicas (`maxReplicaCount`)"].share(30 * base) == pytest.approx(30 / RULES.most)
    sent = 8 * (2500 + 200 + assumptions.TRANSPORT_BYTES)
    assert by_name["network of one ingress machine"].share(base) == pytest.approx(base * sent / 10e9)
    assert by_name["series of one Prometheus"].share(base) == pytest.approx(500 / 1e6)


def test_replicas_follow_by_doubling_and_leave_one_by_one():
    assert limits.seconds_to_follow(RULES, 1) == 0
    assert limits.seconds_to_follow(RULES, 2) == limits.READY_SECONDS
    assert limits.seconds_to_follow(RULES, 10) == 3 * 30 + limits.READY_SECONDS
    assert limits.seconds_to_leave(PROFILES, RULES, 10) == 300 + 8 * 60


def test_distances_are_those_of_an_atlas():
    assert regions.great_circle_km("London", "New York") == pytest.approx(5570, rel=0.01)
    assert regions.great_circle_km("Sydney", "Tokyo") == pytest.approx(7820, rel=0.01)


def test_the_nearest_region_answers():
    one, three = regions.round_trips(("New York",)), regions.round_trips(("New York", "Frankfurt", "Singapore"))
    assert three[0] < one[0]
    assert regions.round_trip_seconds("New York", ("Frankfurt", "New York")) == 0
    assert regions.round_trip_seconds("London", ("New York",)) == pytest.approx(2 * 5570 * 1.5 / 200_000, rel=0.01)
    assert regions.load_after_loss(3) == 1.5


def test_capacity_of_a_device_is_that_of_full_batches():
    assert Device({1: 0.1, 8: 0.4}, cores=2).capacity == pytest.approx(40)
    assert math.isclose(Device({1: 0.1, 8: 0.4}, cores=4, on_gpu=True).capacity, 20)
