"""The encoder's threads."""

import asyncio
import threading
import time

import pytest

from serving.encoding.pool import EncoderPool


def in_encoder(threads, steps):
    async def main():
        encoder = EncoderPool(threads)
        try:
            return await asyncio.wait_for(steps(encoder), 10)
        finally:
            await asyncio.to_thread(encoder.close)

    return asyncio.run(main())


def test_results_come_in_order_and_a_fault_stays_with_its_job():
    async def steps(encoder):
        assert await encoder.run_all([lambda n=n: n * n for n in range(100)]) == [n * n for n in range(100)]
        good, bad = await asyncio.gather(
            encoder.run(lambda: "good"), encoder.run(lambda: 1 / 0), return_exceptions=True
        )
        assert good == "good"
        assert isinstance(bad, ZeroDivisionError)

    in_encoder(3, steps)


def test_long_jobs_run_side_by_side():
    meeting = threading.Barrier(4, timeout=5)

    async def steps(encoder):
        await asyncio.gather(*(encoder.run(meeting.wait) for _ in range(4)))

    in_encoder(4, steps)


def test_jobs_alone_come_one_after_the_other_while_others_run():
    running, most = set(), []

    def alone(number):
        running.add(number)
        most.append(len(running))
        time.sleep(0.01)
        running.remove(number)
        return number

    async def steps(encoder):
        blocker = asyncio.ensure_future(encoder.run(lambda: time.sleep(0.05)))
        assert await asyncio.gather(*(encoder.run_exclusive(lambda n=n: alone(n)) for n in range(6))) == [*range(6)]
        await blocker

    in_encoder(4, steps)
    assert most == [1] * 6


def test_many_short_jobs_share_a_turn():
    async def steps(encoder):
        for _ in range(60):
            await asyncio.gather(*(encoder.run(lambda: None) for _ in range(32)))
        assert encoder._turn("") > 1
        for _ in range(60):
            await encoder.run(lambda: sum(range(200_000)))
        assert encoder._turn("") == 1

    in_encoder(2, steps)


def test_the_event_loop_turns_while_images_are_encoded():
    async def steps(encoder):
        job = asyncio.ensure_future(encoder.run(lambda: time.sleep(0.3)))
        turns = 0
        while not job.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert turns > 10

    in_encoder(1, steps)


def test_a_job_nobody_waits_for_is_not_done():
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

    in_encoder(1, steps)
    assert done == ["third"]


def test_lines_have_their_turns():
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

    in_encoder(1, steps)
    assert len(done) == 51
    assert done.index("small") < 10
