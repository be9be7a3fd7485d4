"""A scheduler forms batches, and answers every request when something fails. Engines are fake."""

import asyncio
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from serving.encoding.pool import EncoderPool
from serving.errors import ApiError, ErrorCode
from serving.inference.engine import Inputs, PaddedBatch
from serving.inference.scheduler import Scheduler
from serving.metrics import Metrics


class FakeEngine:
    """Returns its noise as images, waits at a gate, and fails for noise of 13, and in batches above ``largest``."""

    card = SimpleNamespace(name="fake", version=1)
    provider = "cpu"
    max_batch = 4

    def __init__(self, parallel=1):
        self.parallel_batches = parallel
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.largest = self.max_batch
        self.padded = []
        self.batches = []
        self.idle_flags = []
        self.concurrent = self.max_concurrent = 0

    def padding(self, images):
        return 4 - images

    def preferred_batch(self, waiting):
        return min(waiting, self.max_batch)

    def pad(self, parts):
        noise = np.concatenate([part.noise for part in parts])
        self.padded.append(noise[:, 0].astype(int).tolist())
        return PaddedBatch({"noise": noise}, len(noise))

    def run(self, batch, device_idle):
        self.concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self.concurrent)
        self.entered.set()
        self.gate.wait(10)
        self.concurrent -= 1
        noise = batch.feed["noise"]
        self.batches.append(noise[:, 0].astype(int).tolist())
        self.idle_flags.append(device_idle)
        if 13 in noise:
            raise RuntimeError("the device does not like 13")
        if len(noise) > self.largest:
            raise MemoryError("the device has no memory for this batch")
        return noise.astype(np.uint8).reshape(-1, 1, 1, 1)


def inputs(*values):
    return Inputs(np.array(values, np.float32).reshape(-1, 1), None, np.ones(len(values), np.float32))


def run_scenario(steps, *, queue_images=100, deadline=10.0, parallel=1):
    """Runs ``steps(scheduler, engine)`` on an event loop, and returns what was counted."""
    metrics = Metrics()

    async def main():
        engine = FakeEngine(parallel)
        encoder = EncoderPool(1)
        scheduler = Scheduler(engine, encoder, queue_images, deadline, metrics)
        try:
            await asyncio.wait_for(steps(scheduler, engine), 10)
        finally:
            engine.gate.set()
            await asyncio.to_thread(scheduler.close)
            encoder.close()

    asyncio.run(main())
    registry = metrics._registry

    def dropped(reason):
        return registry.get_sample_value("figment_dropped_images_total", {"model": "fake", "reason": reason})

    assert registry.get_sample_value("figment_queued_images", {"model": "fake"}) == 0
    return SimpleNamespace(dropped=dropped, registry=registry)


async def occupy(scheduler, engine):
    """Keeps the device busy with one image until the gate opens."""
    request = scheduler.submit(inputs(0))
    await asyncio.to_thread(engine.entered.wait, 5)
    return request


def values(result):
    return result.images.reshape(-1).tolist()


def test_a_request_larger_than_a_batch_is_split_and_joined_in_order():
    async def steps(scheduler, engine):
        engine.gate.set()
        result = await scheduler.submit(inputs(*range(20, 31))).future
        assert values(result) == list(range(20, 31))
        assert [len(batch) for batch in engine.batches] == [4, 4, 3]

    counted = run_scenario(steps)
    assert counted.registry.get_sample_value("figment_batch_padding_images_total", {"model": "fake"}) == 1


def test_requests_that_wait_share_a_batch():
    async def steps(scheduler, engine):
        first = await occupy(scheduler, engine)
        others = [scheduler.submit(inputs(value)) for value in (1, 2, 3)]
        engine.gate.set()
        assert [values(await request.future) for request in (first, *others)] == [[0], [1], [2], [3]]
        assert engine.batches == [[0], [1, 2, 3]]

    run_scenario(steps)


def test_images_beyond_the_preferred_batch_go_into_the_next_one():
    async def steps(scheduler, engine):
        engine.preferred_batch = lambda waiting: min(waiting, 2)
        first = await occupy(scheduler, engine)
        others = [scheduler.submit(inputs(value)) for value in (1, 2, 3)]
        engine.gate.set()
        assert [values(await request.future) for request in (first, *others)] == [[0], [1], [2], [3]]
        assert engine.batches == [[0], [1, 2], [3]]

    run_scenario(steps)


def test_a_full_queue_rejects_with_a_time_to_retry():
    async def steps(scheduler, engine):
        await occupy(scheduler, engine)
        scheduler.submit(inputs(1, 2))
        with pytest.raises(ApiError) as rejected:
            scheduler.submit(inputs(3, 4))
        assert rejected.value.status == 429
        assert int(dict(rejected.value.headers)["Retry-After"]) >= 1
        engine.gate.set()

    assert run_scenario(steps, queue_images=3).dropped("queue_full") == 2


def test_what_cannot_be_generated_in_time_is_rejected_at_once():
    """The alternative is that all requests expire together: none is answered, and each waits for a whole deadline."""

    async def steps(scheduler, engine):
        scheduler._throughput.record(4, 4.0)
        first = await occupy(scheduler, engine)
        others = [scheduler.submit(inputs(value)) for value in range(1, 7)]
        assert scheduler.is_full
        for reject in (lambda: scheduler.submit(inputs(7)), lambda: scheduler.ensure_capacity(1)):
            with pytest.raises(ApiError) as rejected:
                reject()
            assert rejected.value.status == 429
            assert rejected.value.sentence == "7 images wait already; try again in 7 s."
            assert dict(rejected.value.headers)["Retry-After"] == "7"
        engine.gate.set()
        assert [values(await request.future) for request in (first, *others)] == [[value] for value in range(7)]
        assert not scheduler.is_full
        scheduler.ensure_capacity(1)

    assert run_scenario(steps, deadline=10.0).dropped("queue_full") == 2


def test_nobody_is_told_to_wait_for_longer_than_the_deadline():
    """Whatever waits has ended by then."""

    async def steps(scheduler, engine):
        scheduler._throughput.record(4, 400.0)
        await occupy(scheduler, engine)
        with pytest.raises(ApiError) as rejected:
            scheduler.submit(inputs(1))
        assert dict(rejected.value.headers)["Retry-After"] == "10"
        engine.gate.set()

    run_scenario(steps, deadline=10.0)


def test_a_cancelled_request_never_reaches_the_device_and_its_neighbours_do():
    async def steps(scheduler, engine):
        await occupy(scheduler, engine)
        before, gone, after = (scheduler.submit(inputs(value)) for value in (1, 2, 3))
        scheduler.drop(gone, "disconnected")
        scheduler.drop(gone, "disconnected")
        engine.gate.set()
        assert values(await before.future) == [1]
        assert values(await after.future) == [3]
        assert engine.batches == [[0], [1, 3]]
        with pytest.raises(ApiError):
            await gone.future

    assert run_scenario(steps).dropped("disconnected") == 1


def test_a_request_past_its_deadline_is_answered_in_time_while_the_device_is_stuck():
    async def steps(scheduler, engine):
        await occupy(scheduler, engine)
        late = scheduler.submit(inputs(1, 2))
        with pytest.raises(ApiError) as rejected:
            await late.future
        assert rejected.value.code is ErrorCode.DEADLINE
        engine.gate.set()
        assert values(await scheduler.submit(inputs(7)).future) == [7]
        assert engine.batches == [[0], [7]]

    assert run_scenario(steps, deadline=0.2).dropped("deadline") == 2


def test_a_request_that_fails_does_not_fail_its_neighbours():
    async def steps(scheduler, engine):
        await occupy(scheduler, engine)
        good, bad, fine = (scheduler.submit(inputs(value)) for value in (1, 13, 3))
        engine.gate.set()
        assert values(await good.future) == [1]
        assert values(await fine.future) == [3]
        with pytest.raises(ApiError) as broken:
            await bad.future
        assert broken.value.status == 500
        assert "13" not in broken.value.sentence
        assert values(await scheduler.submit(inputs(5)).future) == [5]

    run_scenario(steps)


@pytest.mark.parametrize("largest", [1, 2, 3])
def test_a_batch_size_without_memory_loses_no_image(largest):
    """Neither of one request, nor of several that share a batch, nor of one that is split over batches."""

    async def steps(scheduler, engine):
        await occupy(scheduler, engine)
        engine.largest = largest
        requests = {count: scheduler.submit(inputs(*range(20, 20 + count))) for count in (1, 4, 2, 11)}
        engine.gate.set()
        for count, request in requests.items():
            assert values(await request.future) == list(range(20, 20 + count))

    run_scenario(steps)


def test_a_bad_image_among_others_fails_its_request_alone():
    async def steps(scheduler, engine):
        await occupy(scheduler, engine)
        bad, good = scheduler.submit(inputs(20, 13, 21)), scheduler.submit(inputs(1))
        engine.gate.set()
        assert values(await good.future) == [1]
        with pytest.raises(ApiError) as broken:
            await bad.future
        assert broken.value.status == 500
        assert all(21 not in batch for batch in engine.batches if 13 not in batch)  # nobody waits for it any more

    run_scenario(steps)


async def wait_until_formed(engine, *batch):
    while engine.padded[-1] != [*batch]:
        await asyncio.sleep(0.005)


def test_a_full_batch_is_formed_while_the_device_works_and_one_with_room_waits_for_more():
    async def steps(scheduler, engine):
        requests = [await occupy(scheduler, engine)]
        requests += [scheduler.submit(inputs(value)) for value in (1, 2, 3)]
        await asyncio.sleep(0.05)
        assert engine.padded == [[0]]
        requests += [scheduler.submit(inputs(value)) for value in (4, 5)]
        await wait_until_formed(engine, 1, 2, 3, 4)
        engine.gate.set()
        assert [values(await request.future) for request in requests] == [[value] for value in range(6)]
        assert engine.batches == engine.padded == [[0], [1, 2, 3, 4], [5]]

    run_scenario(steps)


async def wait_for(condition):
    while not condition():
        await asyncio.sleep(0.005)


def test_any_idle_thread_forms_the_next_batch():
    async def steps(scheduler, engine):
        turns = threading.Semaphore(0)
        engine.gate.wait = lambda seconds: turns.acquire(timeout=seconds)
        requests = [await occupy(scheduler, engine)]
        for values_ahead in ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12)):
            requests += [scheduler.submit(inputs(value)) for value in values_ahead]
            await wait_until_formed(engine, *values_ahead)
            turns.release()
            await requests[values_ahead[0] - 1].future
        turns.release()
        assert [values(await request.future) for request in requests] == [[value] for value in range(13)]

    run_scenario(steps)


def test_idle_cores_share_the_waiting_images():
    async def steps(scheduler, engine):
        requests = [scheduler.submit(inputs(value)) for value in range(6)]
        await wait_for(lambda: engine.concurrent == 3)
        assert sorted(map(len, engine.padded)) == [2, 2, 2]
        late = scheduler.submit(inputs(*range(6, 12)))
        await asyncio.sleep(0.05)
        assert engine.concurrent == 3, "no core has two batches"
        engine.gate.set()
        assert [values(await request.future) for request in requests] == [[value] for value in range(6)]
        assert values(await late.future) == [*range(6, 12)]
        assert engine.max_concurrent == 3
        assert not any(engine.idle_flags)

    run_scenario(steps, parallel=3)


def test_a_request_in_concurrent_batches_is_joined_in_order():
    async def steps(scheduler, engine):
        engine.gate.set()
        for _ in range(20):
            large = [scheduler.submit(inputs(*range(start, start + 31))) for start in (20, 100)]
            assert [values(await request.future) for request in large] == [[*range(20, 51)], [*range(100, 131)]]

    run_scenario(steps, parallel=3)


def test_few_images_on_idle_cores_are_one_multithreaded_batch():
    async def steps(scheduler, engine):
        first = await occupy(scheduler, engine)
        beside = scheduler.submit(inputs(1, 2))
        await wait_for(lambda: engine.concurrent == 3)
        engine.gate.set()
        assert (values(await first.future), values(await beside.future)) == ([0], [1, 2])
        assert (len(engine.idle_flags), engine.idle_flags.count(True)) == (3, 1), "a batch beside it has its own core"
        await wait_for(lambda: scheduler._was_idle)
        assert values(await scheduler.submit(inputs(3, 4)).future) == [3, 4]
        assert (engine.batches[3:], engine.idle_flags[3:]) == ([[3, 4]], [True])

    run_scenario(steps, parallel=3)


def test_a_request_cancelled_after_its_batch_was_formed_never_reaches_the_device():
    async def steps(scheduler, engine):
        await occupy(scheduler, engine)
        requests = [scheduler.submit(inputs(value)) for value in (1, 2, 3, 4)]
        await wait_until_formed(engine, 1, 2, 3, 4)
        scheduler.drop(requests[1], "disconnected")
        engine.gate.set()
        assert values(await requests[3].future) == [4]
        assert engine.batches == [[0], [1, 3, 4]]

    assert run_scenario(steps).dropped("disconnected") == 1


def test_a_request_expired_after_its_batch_was_formed_never_reaches_the_device():
    async def steps(scheduler, engine):
        await occupy(scheduler, engine)
        late = scheduler.submit(inputs(1, 2, 3, 4))
        await wait_until_formed(engine, 1, 2, 3, 4)
        with pytest.raises(ApiError):
            await late.future
        engine.gate.set()
        assert values(await scheduler.submit(inputs(7)).future) == [7]
        assert engine.batches == [[0], [7]]

    assert run_scenario(steps, deadline=0.2).dropped("deadline") == 4


def test_a_large_request_and_small_ones_take_turns():
    async def steps(scheduler, engine):
        await occupy(scheduler, engine)
        large = scheduler.submit(inputs(*range(100, 140)))
        small = [scheduler.submit(inputs(value)) for value in range(1, 7)]
        engine.gate.set()
        await asyncio.gather(*(request.future for request in small))
        assert values(await large.future) == list(range(100, 140))
        order = [value for batch in engine.batches for value in batch]
        assert order.index(6) < 16, "six small requests wait for at most as many images of the large one, and a batch"

    run_scenario(steps)


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has no niceness of its own elsewhere")
@pytest.mark.parametrize(("before", "after"), [(0, 10), (15, 15)])
def test_device_threads_are_nice_and_never_lower_their_niceness(before, after, monkeypatch):
    niceness_set = []
    monkeypatch.setattr("os.getpriority", lambda which, who: before)
    monkeypatch.setattr("os.setpriority", lambda which, who, niceness: niceness_set.append(niceness))

    async def steps(scheduler, engine):
        engine.gate.set()
        assert values(await scheduler.submit(inputs(1)).future) == [1]

    run_scenario(steps)
    assert niceness_set == [after, after]


def test_the_rest_of_a_failed_request_is_not_run():
    async def steps(scheduler, engine):
        engine.gate.set()
        with pytest.raises(ApiError):
            await scheduler.submit(inputs(13, *range(20, 40))).future
        assert engine.batches == [[13, 20, 21, 22], [13, 20], [13]]

    run_scenario(steps)


def test_waiting_requests_are_dropped_when_draining_ends():
    async def steps(scheduler, engine):
        first = await occupy(scheduler, engine)
        waiting = scheduler.submit(inputs(1, 2, 3))
        scheduler.drop_all("draining")
        with pytest.raises(ApiError) as rejected:
            await waiting.future
        assert rejected.value.status == 503
        engine.gate.set()
        assert values(await first.future) == [0]

    assert run_scenario(steps).dropped("draining") == 3


def test_a_stuck_device_is_a_fault_and_a_slow_one_is_not():
    async def steps(scheduler, engine):
        assert scheduler.fault(0.05) is None
        await occupy(scheduler, engine)
        assert scheduler.fault(10) is None
        await asyncio.sleep(0.1)
        assert "fake/1" in scheduler.fault(0.05)
        engine.gate.set()
        await scheduler.submit(inputs(1)).future
        await asyncio.sleep(0.1)
        assert scheduler.fault(0.05) is None

    run_scenario(steps)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_is_a_fault():
    async def steps(scheduler, engine):
        engine.gate.set()
        scheduler._deliver = None
        scheduler.submit(inputs(1))
        await asyncio.to_thread(scheduler._threads[0].join, 5)
        assert "has died" in scheduler.fault(10)

    run_scenario(steps)
