"""The batch policy, driven by fake clocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.inference.batching import BatchQueue, QueuedRequest, QueueFullError, Throughput

NEVER = float("inf")


def queue_for(limit, throughput=None):
    return BatchQueue(limit, throughput or Throughput(16))


def paced(images_per_second, batch=16):
    """The throughput of a device that has run one batch."""
    throughput = Throughput(16)
    throughput.record(batch, batch / images_per_second)
    return throughput


def taken(batch):
    return [(part.request, part.start, part.stop) for part in batch.slices]


def test_takes_all_waiting_images_at_once():
    queue = queue_for(100)
    first, second = QueuedRequest(2, NEVER), QueuedRequest(3, NEVER)
    queue.add(first)
    queue.add(second)
    assert taken(queue.take(0, 8)) == [(first, 0, 2), (second, 0, 3)]
    assert queue.images == 0
    assert taken(queue.take(0, 8)) == []


def test_a_large_request_does_not_starve_small_ones():
    queue = queue_for(1000)
    large, small = QueuedRequest(256, NEVER), [QueuedRequest(1, NEVER) for _ in range(20)]
    queue.add(large)
    for request in small:
        queue.add(request)
    first = queue.take(0, 16)
    second = queue.take(0, 16)
    assert [part.request for part in first.slices] == [large, *small[:15]]
    assert {part.request for part in second.slices} == {large, *small[15:]}
    # the large request gets the remaining room
    assert sum(part.images for part in second.slices) == 16


def test_a_full_queue_rejects_and_a_cancelled_request_makes_room():
    queue = queue_for(4)
    first, second = QueuedRequest(3, NEVER), QueuedRequest(2, NEVER)
    queue.add(first)
    with pytest.raises(QueueFullError):
        queue.add(second)
    assert queue.cancel(first) == 3
    assert queue.cancel(first) == 0
    queue.add(second)
    assert taken(queue.take(0, 8)) == [(second, 0, 2)]


def test_an_empty_queue_accepts_a_request_larger_than_itself():
    queue = queue_for(4)
    queue.add(QueuedRequest(9, NEVER))
    with pytest.raises(QueueFullError):
        queue.add(QueuedRequest(1, NEVER))


def test_an_expired_request_is_dropped_and_its_neighbour_is_not():
    queue = queue_for(10)
    late, timely = QueuedRequest(2, 5.0), QueuedRequest(1, 5.1)
    queue.add(late)
    queue.add(timely)
    batch = queue.take(5.0, 8)
    assert batch.expired == [late]
    assert taken(batch) == [(timely, 0, 1)]
    assert queue.images == 0


def test_the_rest_of_a_request_is_dropped_when_it_is_cancelled_between_batches():
    queue = queue_for(100)
    request = QueuedRequest(10, NEVER)
    queue.add(request)
    assert taken(queue.take(0, 4)) == [(request, 0, 4)]
    assert queue.cancel(request) == 6
    assert queue.images == 0
    assert taken(queue.take(0, 4)) == []


ACTIONS = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 40), st.integers(0, 50)),
    st.tuples(st.just("take"), st.integers(1, 16), st.just(0)),
    st.tuples(st.just("cancel"), st.integers(0, 30), st.just(0)),
)


@given(st.lists(ACTIONS, max_size=60), st.integers(1, 80))
def test_every_image_is_taken_once_or_dropped(actions, limit):
    """In any order of actions, no image is taken twice, lost, late, or beyond the limits."""
    queue, clock = queue_for(limit), 0
    requests, progress, ended = [], {}, set()

    def take(max_images):
        batch = queue.take(clock, max_images)
        ended.update(batch.expired)
        assert sum(part.images for part in batch.slices) <= max_images
        for part in batch.slices:
            assert part.request not in ended
            assert part.request.deadline > clock
            assert part.start == progress[part.request] < part.stop <= part.request.images
            progress[part.request] = part.stop
        return batch

    for action, number, lifetime in actions:
        clock += 1
        if action == "add":
            request = QueuedRequest(number, clock + lifetime)
            before = queue.images
            try:
                queue.add(request)
            except QueueFullError:
                assert before + number > limit
                continue
            requests.append(request)
            progress[request] = 0
        elif action == "take":
            before = queue.images
            batch = take(number)
            if before and not batch.expired:
                assert sum(part.images for part in batch.slices) == min(number, before)
        elif requests:
            request = requests[number % len(requests)]
            waited = queue.cancel(request)
            if waited:
                assert waited == request.images - progress[request]
                ended.add(request)
        assert queue.images == sum(e.images - progress[e] for e in requests if e not in ended)
    while queue.images:
        take(16)
    assert all(request in ended or progress[request] == request.images for request in requests)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=20), st.integers(1, 40))
def test_shares_are_fair(sizes, max_images):
    queue = queue_for(10_000)
    for size in sizes:
        queue.add(QueuedRequest(size, NEVER))
    shares = {part.request: part.images for part in queue.take(0, max_images).slices}
    least = min((share for request, share in shares.items() if request.waiting), default=None)
    if least is not None:
        assert all(share <= least + max_images // len(shares) + 1 for share in shares.values())
        assert sum(shares.values()) == max_images


def test_a_request_is_rejected_if_one_that_waits_would_expire():
    """At 10 images a second, 20 s remain: 120 images and a third more take 16 s, so 4 s are left for others."""
    queue = queue_for(1000, paced(10))
    queue.add(QueuedRequest(120, 20.0), now=0.0)
    assert queue.keeps_deadlines(40, now=0.0, deadline=30.0)
    assert not queue.keeps_deadlines(41, now=0.0, deadline=30.0)
    assert not queue.keeps_deadlines(1, now=0.0, deadline=15.0), "its own deadline counts, too"
    assert not queue.keeps_deadlines(1, now=0.0, deadline=30.0, running=40), "and batches that the device has not run"
    with pytest.raises(QueueFullError):
        queue.add(QueuedRequest(41, 30.0), now=0.0)
    assert queue.images == 120
    queue.add(QueuedRequest(40, 30.0), now=0.0)


def test_a_request_that_was_taken_or_cancelled_holds_nobody_up():
    for leave in (lambda queue, request: queue.cancel(request), lambda queue, request: queue.take(0.0, 16)):
        queue = queue_for(1000, paced(10))
        urgent = QueuedRequest(8, 2.0)
        queue.add(urgent, now=0.0)
        assert not queue.keeps_deadlines(100, now=0.0, deadline=30.0)
        leave(queue, urgent)
        queue.add(QueuedRequest(8, 30.0), now=0.0)
        assert queue.keeps_deadlines(100, now=0.0, deadline=30.0)


def test_without_a_measured_pace_only_the_limit_rejects():
    queue = queue_for(1000)
    for _ in range(10):
        queue.add(QueuedRequest(100, 0.001), now=0.0)
    assert not queue.has_capacity(1)


def test_an_idle_device_takes_any_request_and_a_busy_one_only_those_that_are_in_time():
    queue = queue_for(10_000, paced(10))
    assert queue.keeps_deadlines(5000, now=0.0, deadline=30.0)
    assert not queue.keeps_deadlines(5000, now=0.0, deadline=30.0, running=1)
    assert queue.keeps_deadlines(295, now=0.0, deadline=30.0, running=1), (
        "a large one, if hardly any image is before it"
    )


def test_batches_much_smaller_than_a_request_do_not_reject_it():
    """A GPU takes about as long for one image as for a batch of them."""
    queue = queue_for(1000, paced(1, batch=1))
    assert queue.keeps_deadlines(64, now=0.0, deadline=30.0, running=1)
    queue = queue_for(1000, paced(1, batch=8))
    assert not queue.keeps_deadlines(64, now=0.0, deadline=30.0, running=1)


def test_a_request_that_will_be_late_does_not_keep_others_out():
    queue = queue_for(10_000, paced(10))
    queue.add(QueuedRequest(5000, 30.0), now=0.0)
    assert queue.keeps_deadlines(64, now=0.0, deadline=30.0), "its share of the batches is no larger than the others'"
    assert not queue.keeps_deadlines(130, now=0.0, deadline=30.0)
    queue.take(0.0, 4990)
    assert queue.keeps_deadlines(130, now=0.0, deadline=30.0), "it has few images left"


def test_throughput_follows_the_device():
    throughput = Throughput(64)
    assert throughput.seconds_for(50) is None
    throughput.record(10, 1.0)
    assert throughput.seconds_for(50) == pytest.approx(5.0)
    for _ in range(16):
        throughput.record(10, 0.1)
    assert throughput.seconds_for(50) == pytest.approx(0.5)


def test_throughput_is_that_of_the_large_batches_while_they_are_recent():
    throughput = Throughput(64)
    throughput.record(64, 1.0)
    for _ in range(15):
        throughput.record(1, 0.5)
    assert throughput.seconds_for(64) == pytest.approx(1.0)
    throughput.record(1, 0.5)
    assert throughput.seconds_for(64) == pytest.approx(32.0)
    assert throughput.has_run_like(2)
    assert not throughput.has_run_like(3)
