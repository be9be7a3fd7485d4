"""A simulated replica agrees with queueing theory and with the measured service, and loses no request."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scaling import validation
from benchmarks.scaling.loads import arrivals
from benchmarks.scaling.replica import Clock, Device, Replica

NEVER = 1e9


def waits(device, rate, seconds, queue_images=10**9):
    """The seconds from arrival to image of every request of a random load."""
    clock, ends = Clock(), []
    replica = Replica(clock, device, queue_images, NEVER, lambda request, took: ends.append(took))
    for time in arrivals([(seconds, rate)], seed=0).tolist():
        clock.run_until(time)
        replica.arrive()
    clock.run_until(2 * seconds)
    return np.array(ends)


@pytest.mark.parametrize("busy", [0.3, 0.7, 0.85])
def test_one_image_at_a_time_is_the_queue_m_d_1(busy):
    """The mean wait is ρ · s / (2 (1 - ρ)): Pollaczek and Khinchine."""
    service = 0.01
    found = waits(Device({1: service}), busy / service, 3000)
    assert np.mean(found) == pytest.approx(service + busy * service / (2 * (1 - busy)), rel=0.03)


@pytest.mark.parametrize("images_per_batch_time", [0.2, 1.0, 3.0])
def test_batches_of_any_size_in_constant_time(images_per_batch_time):
    """All that waits is one batch: a request that comes to a busy device waits half of a batch's time on average.

    After a batch, the device is idle with probability exp(-λD). So it is busy for D · exp(λD), then idle for 1/λ.
    """
    time = 0.01
    rate = images_per_batch_time / time
    busy = time * math.exp(images_per_batch_time)
    wait = busy / (busy + 1 / rate) * time / 2
    found = waits(Device({1: time, 1000: time}, on_gpu=True), rate, 100_000 / rate)
    assert np.mean(found) - time == pytest.approx(wait, rel=0.03)


def test_two_cores_share_waiting_images_and_run_two_batches():
    device = Device({1: 1.0, 2: 2.0, 4: 4.0}, cores=2)
    clock, ends = Clock(), []
    replica = Replica(clock, device, 100, NEVER, lambda request, took: ends.append((clock.now, took)))
    replica.arrive(8)
    clock.run_until(3.9)
    assert replica.queued_images == 0, "each core has taken four of the eight images"
    clock.run_until(100)
    assert ends == [(4.0, 4.0)]


def test_overload_is_rejected_and_the_rest_served_at_capacity():
    device = Device({1: 0.011, 64: 0.64}, cores=2)
    assert device.capacity == pytest.approx(200)
    found = waits(device, 400, 200, queue_images=256)
    answered = np.isfinite(found)
    assert np.mean(answered) == pytest.approx(0.5, abs=0.02)
    assert np.max(found[answered]) < 256 / device.capacity + 2 * 0.64


REQUEST = st.tuples(st.floats(0, 5), st.integers(1, 40))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(REQUEST, max_size=60),
    st.integers(1, 60),
    st.floats(0.05, 5),
    st.sampled_from([Device({1: 0.1, 2: 0.15, 8: 0.4}, 0.01, 3), Device({1: 0.1, 8: 0.2}, on_gpu=True)]),
)
def test_every_request_ends_once(requests, queue_images, deadline, device):
    """Rejected, expired or answered: a request that vanished would make any latency look good."""
    clock, ended = Clock(), []
    replica = Replica(clock, device, queue_images, deadline, lambda request, took: ended.append((request, took)))
    for time, images in sorted(requests):
        clock.run_until(time)
        replica.arrive(images)
    clock.run_until(1000)
    assert replica.is_empty
    assert len(ended) == len({id(request) for request, _ in ended}) == len(requests)
    for request, took in ended:
        assert (took < math.inf) == (request.unfinished == 0)


def test_waits_and_processor_time_are_counted():
    device = Device({1: 0.5}, host_seconds=0.1, cores=1)
    clock = Clock()
    replica = Replica(clock, device, 10, NEVER, lambda request, took: None)
    replica.arrive()
    replica.arrive()
    clock.run_until(10)
    assert replica.cpu_seconds == pytest.approx(1.2)
    assert sum(replica.wait_counts) == 2
    assert replica.wait_counts[0] == 1, "the first did not wait"
    gpu = Device({1: 0.5}, host_seconds=0.1, cores=4, on_gpu=True)
    assert gpu.cpu_seconds(3, seconds=0.5) == pytest.approx(0.3), "a GPU's time is not the processor's"
    assert (gpu.batch_seconds(1), gpu.parallel_batches) == (0.5, 1)


@pytest.mark.parametrize("measured", validation.MEASURED, ids=lambda reading: f"{reading.load:.0%}")
def test_a_replica_goes_as_the_real_service_went(measured):
    """Above capacity the queue decides, and the simulation must find the same. Below, a real machine is slower."""
    found = validation.simulated(measured.load)
    assert found.goodput == pytest.approx(measured.goodput, rel=0.06)
    assert found.rejected == pytest.approx(measured.rejected, abs=0.04)
    if measured.load > 1:
        assert found.p50 == pytest.approx(measured.p50, rel=0.1)
        assert measured.p99 / 1.4 < found.p99 < measured.p99
    else:
        assert found.p50 < measured.p50 * 1.6
