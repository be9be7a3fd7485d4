"""The threads that encode images: neither the event loop nor the device waits for a compressor.

Jobs stand in lines, one for each model, that have their turns in a circle: the small images of one do not wait until
all the large ones of another are encoded.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

# Threads that wake, and wake the event loop, for each small image cost more than encoding it: a thread takes as many
# jobs at a time as it does in about two milliseconds, and hands their results over together. Where images are large,
# that is one, and every thread has work.
_TURN_SECONDS = 0.002
_TURN_JOBS = 64
_PACE_KEPT = 0.9  # of the time that a job has taken so far, at each turn

Job = tuple[Callable[[], Any], asyncio.Future[Any]]
Result = tuple[asyncio.Future[Any], Any, BaseException | None]


class EncoderPool:
    """A pool of threads for one event loop."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._loop = asyncio.get_running_loop()
        self._fresh: list[Job] = []
        self._lines: dict[str, deque[Job]] = {}
        self._changed = threading.Condition()
        self._job_seconds: dict[str, float] = {}
        self._closed = False
        self._alone = asyncio.Lock()
        self._workers = [
            threading.Thread(target=self._work, name=f"encode-{index}", daemon=True) for index in range(threads)
        ]
        for worker in self._workers:
            worker.start()

    async def run(self, job: Callable[[], T]) -> T:
        """What ``job`` returns or raises, in one of the threads."""
        future: asyncio.Future[T] = self._loop.create_future()
        if not self._fresh:
            # A batch from the device makes many jobs in one turn of the loop: the threads are woken once for all.
            self._loop.call_soon(self._flush)
        self._fresh.append((job, future))
        return await future

    async def run_exclusive(self, job: Callable[[], T]) -> T:
        """``run``, with no other job of ``run_exclusive`` beside it.

        It is for noise: NumPy gives up the interpreter's lock at every seed, and two threads that draw hand it to and
        fro so often that each takes more than twice as long.
        """
        async with self._alone:
            return await self.run(job)

    def submit(self, jobs: list[Job], line: str = "") -> None:
        """Has jobs done whose results go to the futures with them; from any thread. ``line`` names where they stand."""
        with self._changed:
            waiting = self._lines.setdefault(line, deque())
            waiting += jobs
            self._changed.notify(-(-len(waiting) // self._turn(line)))

    async def run_all(self, jobs: list[Callable[[], T]]) -> list[T]:
        """What all jobs return, in order.

        No more of them wait at a time than there are threads, so that those of many requests take turns.
        """
        results: list[T] = []
        for start in range(0, len(jobs), self.threads):
            results += await asyncio.gather(*map(self.run, jobs[start : start + self.threads]))
        return results

    def close(self) -> None:
        """Ends the threads, after the jobs that they work on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _flush(self) -> None:
        fresh, self._fresh = self._fresh, []
        self.submit(fresh)

    def _turn(self, line: str) -> int:
        """How many jobs of a line a thread takes at a time."""
        return max(1, min(_TURN_JOBS, int(_TURN_SECONDS / self._job_seconds.get(line, _TURN_SECONDS))))

    def _take(self) -> tuple[str, list[Job]]:
        """The next line's turn; with the lock held, and if there is a line."""
        line = next(iter(self._lines))
        waiting = self._lines.pop(line)
        jobs = [waiting.popleft() for _ in range(min(self._turn(line), len(waiting)))]
        if waiting:
            self._lines[line] = waiting  # at the end of the circle
        return line, jobs

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                line, jobs = self._take()
            results: list[Result] = []
            started = time.thread_time()
            for job, future in jobs:
                if future.done():  # nobody waits for it any more
                    continue
                try:
                    results.append((future, job(), None))
                except Exception as error:
                    results.append((future, None, error))
            # The thread's own time: what it waits for other threads says nothing of the jobs.
            seconds = (time.thread_time() - started) / len(jobs)
            before = self._job_seconds.get(line, _TURN_SECONDS)
            self._job_seconds[line] = max(1e-6, _PACE_KEPT * before + (1 - _PACE_KEPT) * seconds)
            self._hand_over(results)

    def _hand_over(self, results: list[Result]) -> None:
        if results and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_deliver, results)


def _deliver(results: list[Result]) -> None:
    for future, result, error in results:
        if future.done():  # nobody waits for it any more
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
