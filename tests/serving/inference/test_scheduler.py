"""The threads around an engine: what happens to requests when things go wrong. Engines are made up."""

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
    """Its images are its noise; it stops at a gate, and noise of 13 breaks it."""

    card = SimpleNamespace(name="fake", version=1)
    provider = "cpu"
    max_batch = 4

    def __init__(self, parallel=1):
        self.parallel = parallel
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.joined = []
        self.batches = []
        self.alone = []
        self.at_once = self.most_at_once = 0

    def padding(self, images):
        return 4 - images

    def room(self, waiting):
        return min(waiting, self.max_batch)

    def join(self, parts):
        noise = np.concatenate([part.noise for part in parts])
        self.joined.append(noise[:, 0].astype(int).tolist())
        return PaddedBatch({"noise": noise}, len(noise))

    def run(self, batch, alone):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.entered.set()
        self.gate.wait(10)
        self.at_once -= 1
        noise = batch.feed["noise"]
        self.batches.append(noise[:, 0].astype(int).tolist())
        self.alone.append(alone)
        if 13 in noise:
            raise RuntimeError("the device does not like 13")
        return noise.astype(np.uint8).reshape(-1, 1, 1, 1)


def inputs(*values):
    return Inputs(np.array(values, np.float32).reshape(-1, 1), None, np.ones(len(values), np.float32))


def scenario(steps, *, queue_images=100, deadline=10.0, parallel=1):
    """Runs ``steps(thread, engine)`` on an event loop, and returns what was counted."""
    metrics = Metrics()

    async def main():
        engine = FakeEngine(parallel)
        encoder = EncoderPool(1)
        thread = Scheduler(engine, encoder, queue_images, deadline, metrics)
        try:
            await asyncio.wait_for(steps(thread, engine), 10)
        finally:
            engine.gate.set()
            await asyncio.to_thread(thread.close)
            encoder.close()

    asyncio.run(main())
    registry = metrics._registry

    def dropped(reason):
        return registry.get_sample_value("figment_dropped_images_total", {"model": "fake", "reason": reason})

    assert registry.get_sample_value("figment_queued_images", {"model": "fake"}) == 0
    return SimpleNamespace(dropped=dropped, registry=registry)


async def occupied(thread, engine):
    """Keeps the device busy with one image until the gate opens."""
    ticket = thread.submit(inputs(0))
    await asyncio.to_thread(engine.entered.wait, 5)
    return ticket


def values(made):
    return made.images.reshape(-1).tolist()


def test_a_request_larger_than_a_batch_is_split_and_joined_in_order():
    async def steps(thread, engine):
        engine.gate.set()
        made = await thread.submit(inputs(*range(20, 31))).future
        assert values(made) == list(range(20, 31))
        assert [len(batch) for batch in engine.batches] == [4, 4, 3]

    counted = scenario(steps)
    assert counted.registry.get_sample_value("figment_batch_padding_images_total", {"model": "fake"}) == 1


def test_requests_that_wait_share_a_batch():
    async def steps(thread, engine):
        first = await occupied(thread, engine)
        others = [thread.submit(inputs(value)) for value in (1, 2, 3)]
        engine.gate.set()
        assert [values(await ticket.future) for ticket in (first, *others)] == [[0], [1], [2], [3]]
        assert engine.batches == [[0], [1, 2, 3]]

    scenario(steps)


def test_what_the_engine_has_no_good_room_for_goes_with_the_next_batch():
    async def steps(thread, engine):
        engine.room = lambda waiting: min(waiting, 2)
        first = await occupied(thread, engine)
        others = [thread.submit(inputs(value)) for value in (1, 2, 3)]
        engine.gate.set()
        assert [values(await ticket.future) for ticket in (first, *others)] == [[0], [1], [2], [3]]
        assert engine.batches == [[0], [1, 2], [3]]

    scenario(steps)


def test_a_full_queue_refuses_with_the_time_to_come_back():
    async def steps(thread, engine):
        await occupied(thread, engine)
        thread.submit(inputs(1, 2))
        with pytest.raises(ApiError) as refused:
            thread.submit(inputs(3, 4))
        assert refused.value.status == 429
        assert int(dict(refused.value.headers)["Retry-After"]) >= 1
        engine.gate.set()

    assert scenario(steps, queue_images=3).dropped("queue_full") == 2


def test_a_cancelled_request_never_reaches_the_device_and_its_neighbours_do():
    async def steps(thread, engine):
        await occupied(thread, engine)
        before, gone, after = (thread.submit(inputs(value)) for value in (1, 2, 3))
        thread.drop(gone, "disconnected")
        thread.drop(gone, "disconnected")
        engine.gate.set()
        assert values(await before.future) == [1]
        assert values(await after.future) == [3]
        assert engine.batches == [[0], [1, 3]]
        with pytest.raises(ApiError):
            await gone.future

    assert scenario(steps).dropped("disconnected") == 1


def test_a_request_past_its_deadline_is_answered_in_time_though_the_device_is_stuck():
    async def steps(thread, engine):
        await occupied(thread, engine)
        late = thread.submit(inputs(1, 2))
        with pytest.raises(ApiError) as refused:
            await late.future
        assert refused.value.code is ErrorCode.DEADLINE
        engine.gate.set()
        assert values(await thread.submit(inputs(7)).future) == [7]
        assert engine.batches == [[0], [7]]

    assert scenario(steps, deadline=0.2).dropped("deadline") == 2


def test_one_request_that_breaks_the_device_does_not_hurt_its_neighbours():
    async def steps(thread, engine):
        await occupied(thread, engine)
        good, bad, fine = (thread.submit(inputs(value)) for value in (1, 13, 3))
        engine.gate.set()
        assert values(await good.future) == [1]
        assert values(await fine.future) == [3]
        with pytest.raises(ApiError) as broken:
            await bad.future
        assert broken.value.status == 500
        assert "13" not in broken.value.sentence
        assert values(await thread.submit(inputs(5)).future) == [5]

    scenario(steps)


async def formed_ahead(engine, *batch):
    while engine.joined[-1] != [*batch]:
        await asyncio.sleep(0.005)


def test_a_full_batch_is_formed_while_the_device_works_and_one_with_room_waits_for_more():
    async def steps(thread, engine):
        tickets = [await occupied(thread, engine)]
        tickets += [thread.submit(inputs(value)) for value in (1, 2, 3)]
        await asyncio.sleep(0.05)
        assert engine.joined == [[0]]
        tickets += [thread.submit(inputs(value)) for value in (4, 5)]
        await formed_ahead(engine, 1, 2, 3, 4)
        engine.gate.set()
        assert [values(await ticket.future) for ticket in tickets] == [[value] for value in range(6)]
        assert engine.batches == engine.joined == [[0], [1, 2, 3, 4], [5]]

    scenario(steps)


async def reached(condition):
    while not condition():
        await asyncio.sleep(0.005)


def test_whichever_thread_is_idle_forms_the_next_batch():
    async def steps(thread, engine):
        turns = threading.Semaphore(0)
        engine.gate.wait = lambda seconds: turns.acquire(timeout=seconds)
        tickets = [await occupied(thread, engine)]
        for values_ahead in ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12)):
            tickets += [thread.submit(inputs(value)) for value in values_ahead]
            await formed_ahead(engine, *values_ahead)
            turns.release()
            await tickets[values_ahead[0] - 1].future
        turns.release()
        assert [values(await ticket.future) for ticket in tickets] == [[value] for value in range(13)]

    scenario(steps)


def test_cores_that_are_free_share_what_waits():
    async def steps(thread, engine):
        tickets = [thread.submit(inputs(value)) for value in range(6)]
        await reached(lambda: engine.at_once == 3)
        assert sorted(map(len, engine.joined)) == [2, 2, 2]
        late = thread.submit(inputs(*range(6, 12)))
        await asyncio.sleep(0.05)
        assert engine.at_once == 3, "no core has two batches"
        engine.gate.set()
        assert [values(await ticket.future) for ticket in tickets] == [[value] for value in range(6)]
        assert values(await late.future) == [*range(6, 12)]
        assert engine.most_at_once == 3
        assert not any(engine.alone)

    scenario(steps, parallel=3)


def test_a_request_whose_parts_are_made_at_once_is_joined_in_order():
    async def steps(thread, engine):
        engine.gate.set()
        for _ in range(20):
            large = [thread.submit(inputs(*range(start, start + 31))) for start in (20, 100)]
            assert [values(await ticket.future) for ticket in large] == [[*range(20, 51)], [*range(100, 131)]]

    scenario(steps, parallel=3)


def test_few_images_on_idle_cores_are_one_batch_for_all_of_them():
    async def steps(thread, engine):
        first = await occupied(thread, engine)
        beside = thread.submit(inputs(1, 2))
        await reached(lambda: engine.at_once == 3)
        engine.gate.set()
        assert (values(await first.future), values(await beside.future)) == ([0], [1, 2])
        assert (len(engine.alone), engine.alone.count(True)) == (3, 1), "what comes beside it has a core of its own"
        await reached(lambda: thread._was_idle)
        assert values(await thread.submit(inputs(3, 4)).future) == [3, 4]
        assert (engine.batches[3:], engine.alone[3:]) == ([[3, 4]], [True])

    scenario(steps, parallel=3)


def test_who_goes_after_his_batch_was_formed_never_reaches_the_device_and_his_neighbours_do():
    async def steps(thread, engine):
        await occupied(thread, engine)
        tickets = [thread.submit(inputs(value)) for value in (1, 2, 3, 4)]
        await formed_ahead(engine, 1, 2, 3, 4)
        thread.drop(tickets[1], "disconnected")
        engine.gate.set()
        assert values(await tickets[3].future) == [4]
        assert engine.batches == [[0], [1, 3, 4]]

    assert scenario(steps).dropped("disconnected") == 1


def test_who_is_late_after_his_batch_was_formed_never_reaches_the_device():
    async def steps(thread, engine):
        await occupied(thread, engine)
        late = thread.submit(inputs(1, 2, 3, 4))
        await formed_ahead(engine, 1, 2, 3, 4)
        with pytest.raises(ApiError):
            await late.future
        engine.gate.set()
        assert values(await thread.submit(inputs(7)).future) == [7]
        assert engine.batches == [[0], [7]]

    assert scenario(steps, deadline=0.2).dropped("deadline") == 4


def test_one_with_many_images_and_many_with_one_take_turns():
    async def steps(thread, engine):
        await occupied(thread, engine)
        large = thread.submit(inputs(*range(100, 140)))
        small = [thread.submit(inputs(value)) for value in range(1, 7)]
        engine.gate.set()
        await asyncio.gather(*(ticket.future for ticket in small))
        assert values(await large.future) == list(range(100, 140))
        order = [value for batch in engine.batches for value in batch]
        assert order.index(6) < 16, "six small requests wait for at most as many images of the large one, and a batch"

    scenario(steps)


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has no niceness of its own elsewhere")
@pytest.mark.parametrize(("before", "after"), [(0, 10), (15, 15)])
def test_threads_that_compute_yield_and_never_ask_for_more_than_they_had(before, after, monkeypatch):
    asked = []
    monkeypatch.setattr("os.getpriority", lambda which, who: before)
    monkeypatch.setattr("os.setpriority", lambda which, who, niceness: asked.append(niceness))

    async def steps(thread, engine):
        engine.gate.set()
        assert values(await thread.submit(inputs(1)).future) == [1]

    scenario(steps)
    assert asked == [after, after]


def test_the_rest_of_a_broken_request_is_not_tried():
    async def steps(thread, engine):
        engine.gate.set()
        with pytest.raises(ApiError):
            await thread.submit(inputs(13, *range(20, 40))).future
        assert len(engine.batches) == 1

    scenario(steps)


def test_what_waits_is_given_up_when_the_time_to_drain_is_over():
    async def steps(thread, engine):
        first = await occupied(thread, engine)
        waiting = thread.submit(inputs(1, 2, 3))
        thread.drop_all("draining")
        with pytest.raises(ApiError) as refused:
            await waiting.future
        assert refused.value.status == 503
        engine.gate.set()
        assert values(await first.future) == [0]

    assert scenario(steps).dropped("draining") == 3


def test_a_device_stuck_on_a_batch_is_a_fault_and_a_slow_one_is_none():
    async def steps(thread, engine):
        assert thread.fault(0.05) is None
        await occupied(thread, engine)
        assert thread.fault(10) is None
        await asyncio.sleep(0.1)
        assert "fake/1" in thread.fault(0.05)
        engine.gate.set()
        await thread.submit(inputs(1)).future
        await asyncio.sleep(0.1)
        assert thread.fault(0.05) is None

    scenario(steps)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_is_a_fault():
    async def steps(thread, engine):
        engine.gate.set()
        thread._hand_on = None
        thread.submit(inputs(1))
        await asyncio.to_thread(thread._threads[0].join, 5)
        assert "has died" in thread.fault(10)

    scenario(steps)
