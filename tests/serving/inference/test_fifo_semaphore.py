"""Threads enter a FIFO semaphore in the order in which they arrive."""

import threading
import time

from serving.inference.fifo_semaphore import FifoSemaphore


def test_waiting_threads_enter_one_at_a_time_and_in_order():
    semaphore, entered, left = FifoSemaphore(1), [], []

    def enter(number):
        with semaphore:
            entered.append(number)
            time.sleep(0.005)
            left.append(number)
            assert entered == left

    threads = [threading.Thread(target=enter, args=[number]) for number in range(6)]
    with semaphore:
        for number, thread in enumerate(threads, 1):
            thread.start()
            while len(semaphore._waiting) < number:
                time.sleep(0.001)
    for thread in threads:
        thread.join(5)
    assert left == [*range(6)]
