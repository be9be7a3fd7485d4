"""Threads that encode images, so that neither the event loop nor the device waits for a compressor.

Each model has a queue of jobs, and the queues take turns. So the small images of one model do not wait until all large
images of another are encoded.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

# To wake a thread, and the event loop, for each small image would cost more than encoding it. So a thread takes as many
# jobs as it does in about two milliseconds, and delivers their results together. For large images that is one job,
# which leaves work for every thread.
_TURN_SECONDS = 0.002
_MAX_JOBS_PER_TURN = 64
_SMOOTHING = 0.9  # weight of a job's previous mean time, at each turn

Job = tuple[Callable[[], Any], asyncio.Future[Any]]
JobResult = tuple[asyncio.Future[Any], Any, BaseException | None]


class EncoderPool:
    """A pool of threads for one event loop."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._loop = asyncio.get_running_loop()
        self._new_jobs: list[Job] = []
        self._queues: dict[str, deque[Job]] = {}
        self._changed = threading.Condition()
        self._job_seconds: dict[str, float] = {}
        self._closed = False
        self._exclusive = asyncio.Lock()
        self._workers = [
            threading.Thread(target=self._work, name=f"encode-{index}", daemon=True) for index in range(threads)
        ]
        for worker in self._workers:
            worker.start()

    async def run(self, job: Callable[[], T]) -> T:
        """Runs ``job`` in one of the threads. Returns what it returns, or raises what it raises."""
        future: asyncio.Future[T] = self._loop.create_future()
        if not self._new_jobs:
            # A batch from the device makes many jobs in one turn of the loop. They wake the threads once.
            self._loop.call_soon(self._submit_new_jobs)
        self._new_jobs.append((job, future))
        return await future

    async def run_exclusive(self, job: Callable[[], T]) -> T:
        """Does as ``run``, while no other job of ``run_exclusive`` runs.

        Use it to draw noise: NumPy releases the GIL at every seed. Two threads that draw pass the GIL back and forth so
        often that each takes more than twice as long.
        """
        async with self._exclusive:
            return await self.run(job)

    def submit(self, jobs: list[Job], queue: str = "") -> None:
        """Adds jobs to the queue with this name; each result goes to the job's future. Any thread may call this."""
        with self._changed:
            waiting = self._queues.setdefault(queue, deque())
            waiting += jobs
            self._changed.notify(-(-len(waiting) // self._jobs_per_turn(queue)))

    async def run_all(self, jobs: list[Callable[[], T]]) -> list[T]:
        """Runs all jobs, and returns their results in order.

        At most as many of them wait at a time as there are threads, so that the jobs of several requests take turns.
        """
        results: list[T] = []
        for start in range(0, len(jobs), self.threads):
            results += await asyncio.gather(*map(self.run, jobs[start : start + self.threads]))
        return results

    def close(self) -> None:
        """Ends the threads after their current jobs."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _submit_new_jobs(self) -> None:
        jobs, self._new_jobs = self._new_jobs, []
        self.submit(jobs)

    def _jobs_per_turn(self, queue: str) -> int:
        return max(1, min(_MAX_JOBS_PER_TURN, int(_TURN_SECONDS / self._job_seconds.get(queue, _TURN_SECONDS))))

    def _take(self) -> tuple[str, list[Job]]:
        """Returns the next queue's name and the jobs of its turn. The caller holds the lock; a job must wait."""
        queue = next(iter(self._queues))
        waiting = self._queues.pop(queue)
        jobs = [waiting.popleft() for _ in range(min(self._jobs_per_turn(queue), len(waiting)))]
        if waiting:
            self._queues[queue] = waiting  # moves behind all other queues
        return queue, jobs

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queues and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                queue, jobs = self._take()
            results: list[JobResult] = []
            started = time.thread_time()
            for job, future in jobs:
                if future.done():  # the caller was cancelled
                    continue
                try:
                    results.append((future, job(), None))
                except Exception as error:
                    results.append((future, None, error))
            # Measured in the thread's own CPU time: waiting for other threads is no part of a job.
            seconds = (time.thread_time() - started) / len(jobs)
            previous = self._job_seconds.get(queue, _TURN_SECONDS)
            self._job_seconds[queue] = max(1e-6, _SMOOTHING * previous + (1 - _SMOOTHING) * seconds)
            if results and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(_resolve, results)


def _resolve(results: list[JobResult]) -> None:
    for future, result, error in results:
        if future.done():  # the caller was cancelled
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
