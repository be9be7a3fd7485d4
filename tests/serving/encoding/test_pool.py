"""The encoder's threads share jobs, keep errors apart and leave the event loop free."""

import asyncio
import threading
import time

import pytest

from serving.encoding.pool import EncoderPool


def run_in_pool(threads, steps):
    async def main():
        encoder = EncoderPool(threads)
        try:
            return await asyncio.wait_for(steps(encoder), 10)
        finally:
            await asyncio.to_thread(encoder.close)

    return asyncio.run(main())


def test_results_come_in_order_and_an_error_stays_with_its_job():
    async def steps(encoder):
        assert await encoder.run_all([lambda n=n: n * n for n in range(100)]) == [n * n for n in range(100)]
        good, bad = await asyncio.gather(
            encoder.run(lambda: "good"), encoder.run(lambda: 1 / 0), return_exceptions=True
        )
        assert good == "good"
        assert isinstance(bad, ZeroDivisionError)

    run_in_pool(3, steps)


def test_long_jobs_run_side_by_side():
    meeting = threading.Barrier(4, timeout=5)

    async def steps(encoder):
        await asyncio.gather(*(encoder.run(meeting.wait) for _ in range(4)))

    run_in_pool(4, steps)


def test_exclusive_jobs_run_one_at_a_time_beside_other_jobs():
    running, concurrent = set(), []

    def exclusive(number):
        running.add(number)
        concurrent.append(len(running))
        time.sleep(0.01)
        running.remove(number)
        return number

    async def steps(encoder):
        blocker = asyncio.ensure_future(encoder.run(lambda: time.sleep(0.05)))
        assert await asyncio.gather(*(encoder.run_exclusive(lambda n=n: exclusive(n)) for n in range(6))) == [*range(6)]
        await blocker

    run_in_pool(4, steps)
    assert concurrent == [1] * 6


def test_short_jobs_share_a_turn_and_long_jobs_do_not():
    async def steps(encoder):
        for _ in range(60):
            await asyncio.gather(*(encoder.run(lambda: None) for _ in range(32)))
        assert encoder._jobs_per_turn("") > 1
        for _ in range(60):
            await encoder.run(lambda: sum(range(200_000)))
        assert encoder._jobs_per_turn("") == 1

    run_in_pool(2, steps)


def test_the_event_loop_runs_while_images_are_encoded():
    async def steps(encoder):
        job = asyncio.ensure_future(encoder.run(lambda: time.sleep(0.3)))
        turns = 0
        while not job.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert turns > 10

    run_in_pool(1, steps)


def test_a_cancelled_job_does_not_run():
    done = []

    async def steps(encoder):
        gate = threading.Event()
        first = asyncio.ensure_future(encoder.run(lambda: gate.wait(5)))
        await asyncio.sleep(0.05)
        second = asyncio.ensure_future(encoder.run(lambda: done.append("second")))
        await asyncio.sleep(0.05)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.set()
        await first
        await encoder.run(lambda: done.append("third"))

    run_in_pool(1, steps)
    assert done == ["third"]


def test_queues_take_turns():
    done = []

    async def steps(encoder):
        loop = asyncio.get_running_loop()
        gate = threading.Event()
        first = asyncio.ensure_future(encoder.run(lambda: gate.wait(5)))
        await asyncio.sleep(0.05)
        large = [(lambda n=n: done.append(f"large {n}"), loop.create_future()) for n in range(50)]
        small = [(lambda: done.append("small"), loop.create_future())]
        encoder.submit(large, "large")
        encoder.submit(small, "small")
        gate.set()
        await asyncio.gather(first, *(future for _, future in large + small))

    run_in_pool(1, steps)
    assert len(done) == 51
    assert done.index("small") < 10
