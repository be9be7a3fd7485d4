"""In overload the service goes on answering as many images a second as before, each in time, and rejects the rest.

A service that admits more than it can finish answers nobody: requests take turns, so all of them expire together.
The batch policy runs with a virtual clock and devices whose times are known.
"""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scaling.replica import Clock, Device, Replica

DEADLINE = 30.0
QUEUE_IMAGES = 2048
RETRY_SECONDS = 3.0
SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64)
WARM_UP = 150.0
"""Seconds that are not counted. The first requests come before any pace is known, and all of them may expire."""


def processor(pace, cores=1):
    """A device that takes as long for an image in a small batch as in a large one. ``pace``: images a second."""
    return Device({size: size * cores / pace for size in SIZES}, cores=cores)


def gpu(pace):
    """A device that needs a quarter of the time of its largest batch for one image."""
    return Device({size: (16 + 0.75 * size) / pace for size in SIZES}, on_gpu=True)


class Unsteady(Device):
    """A device whose batches take a random time, up to 1.6 times as long as usual or as short."""

    def batch_seconds(self, images):
        return super().batch_seconds(images) * 1.6 ** self.__dict__.setdefault("random", random.Random(0)).uniform(
            -1, 1
        )


class Overload:
    """Clients that ask again as soon as their request ends, or a while after a rejection.

    ``clients`` are the images for which each of them asks.
    """

    def __init__(self, device, clients, seconds=300.0):
        self.clock, self.clients = Clock(), clients
        self.replica = Replica(self.clock, device, QUEUE_IMAGES, DEADLINE, self.finished)
        self.images = self.in_time = self.late = 0
        self.asking = None  # the client whose request is about to be taken or rejected
        self.owners = {}
        add = self.replica._queue.add

        def add_owned(request, *arguments):
            add(request, *arguments)
            self.owners[request] = self.asking

        self.replica._queue.add = add_owned
        for client in range(len(clients)):
            self.clock.call_at(client % 7 * 0.3, self.ask, client)
        self.clock.run_until(WARM_UP + seconds)
        self.goodput = self.images / seconds / device.capacity

    def ask(self, client):
        self.asking = client
        self.replica.arrive(self.clients[client])

    def finished(self, request, took):
        now = self.clock.now
        if request not in self.owners:
            self.clock.call_at(now + RETRY_SECONDS, self.ask, self.asking)
            return
        self.clock.call_at(now, self.ask, self.owners.pop(request))
        if now <= WARM_UP:
            return
        if took > DEADLINE:
            self.late += 1
            return
        self.in_time += 1
        self.images += request.images


DEVICES = {
    "a slow processor": processor(10),
    "two slow cores": processor(10, cores=2),
    "a slow GPU": gpu(10),
    "a slower processor than a batch in time": processor(1.5),
    "a faster one": processor(60),
}


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
@pytest.mark.parametrize("share", [0.004, 0.1, 0.3, 0.8])
@pytest.mark.parametrize("factor", [1.5, 3, 8])
def test_goodput_stays_at_the_capacity(device, share, factor):
    """Each client asks for this share of the images that can be had within the deadline, and all for so many times."""
    within = device.capacity * DEADLINE
    images = max(1, int(share * within))
    found = Overload(device, [images] * max(2, int(factor * within / images)))
    assert found.goodput >= 0.9
    # On several cores, a batch takes longer for its images than all cores together need for as many.
    assert found.late <= (0.01 * found.in_time if device.parallel_batches > 1 else 0)


def test_large_and_small_requests_are_both_answered_in_time():
    for device in (processor(10), processor(10, cores=2), gpu(10)):
        found = Overload(device, [64] * 3 + [1] * 150)
        assert found.goodput >= 0.9
        assert found.late <= (0.01 * found.in_time if device.parallel_batches > 1 else 0)


def test_a_request_that_can_never_be_in_time_does_not_keep_the_others_out():
    """Nobody can know before any pace is measured, and an idle device tries it: others get their shares meanwhile."""
    found = Overload(processor(10), [512] + [1] * 400)
    assert found.goodput >= 0.9
    assert found.late <= 300 / DEADLINE


def test_a_device_whose_pace_varies():
    """Its mean is 9.6 images a second."""
    for images in (1, 60):
        device = Unsteady(processor(10).inference_seconds)
        found = Overload(device, [images] * (900 // images), seconds=600)
        assert found.images / 600 >= 0.85 * 9.6
        assert found.late <= 0.02 * found.in_time


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(0.01, 0.85), min_size=3, max_size=20),
    st.one_of(
        st.builds(processor, st.floats(1.5, 60)),
        st.builds(processor, st.floats(6, 60), cores=st.just(2)),  # two full batches take less than the deadline
        st.builds(gpu, st.floats(10, 60)),
    ),
)
def test_goodput_stays_whatever_the_clients_ask_for(shares, device):
    within = device.capacity * DEADLINE
    clients = [max(1, int(share * within)) for share in shares]
    clients *= math.ceil(2 * within / sum(clients))
    found = Overload(device, clients)
    # Requests that take most of the deadline leave little to choose from: a rejected one may leave the device idle.
    assert found.goodput >= 0.85
    assert found.late <= max(2, 0.02 * found.in_time)
