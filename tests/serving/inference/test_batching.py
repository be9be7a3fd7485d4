"""The batch policy, driven with made-up clocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.inference.batching import BatchQueue, Entry, QueueFullError, Throughput

NEVER = float("inf")


def taken(batch):
    return [(piece.entry, piece.start, piece.stop) for piece in batch.slices]


def test_takes_all_that_waits_at_once():
    queue = BatchQueue(100)
    first, second = Entry(2, NEVER), Entry(3, NEVER)
    queue.add(first)
    queue.add(second)
    assert taken(queue.take(0, 8)) == [(first, 0, 2), (second, 0, 3)]
    assert queue.images == 0
    assert taken(queue.take(0, 8)) == []


def test_a_large_request_does_not_starve_small_ones():
    queue = BatchQueue(1000)
    large, small = Entry(256, NEVER), [Entry(1, NEVER) for _ in range(20)]
    queue.add(large)
    for entry in small:
        queue.add(entry)
    first = queue.take(0, 16)
    second = queue.take(0, 16)
    assert [piece.entry for piece in first.slices] == [large, *small[:15]]
    assert {piece.entry for piece in second.slices} == {large, *small[15:]}
    # and what room is left is the large one's
    assert sum(piece.stop - piece.start for piece in second.slices) == 16


def test_requests_without_room_are_refused_and_a_cancelled_one_makes_room():
    queue = BatchQueue(4)
    first, second = Entry(3, NEVER), Entry(2, NEVER)
    queue.add(first)
    with pytest.raises(QueueFullError):
        queue.add(second)
    assert queue.cancel(first) == 3
    assert queue.cancel(first) == 0
    queue.add(second)
    assert taken(queue.take(0, 8)) == [(second, 0, 2)]


def test_a_request_larger_than_the_queue_is_let_into_an_empty_one():
    queue = BatchQueue(4)
    queue.add(Entry(9, NEVER))
    with pytest.raises(QueueFullError):
        queue.add(Entry(1, NEVER))


def test_what_is_too_late_is_dropped_and_its_neighbour_is_not():
    queue = BatchQueue(10)
    late, timely = Entry(2, 5.0), Entry(1, 5.1)
    queue.add(late)
    queue.add(timely)
    batch = queue.take(5.0, 8)
    assert batch.expired == [late]
    assert taken(batch) == [(timely, 0, 1)]
    assert queue.images == 0


def test_the_rest_of_a_request_is_dropped_when_it_is_cancelled_between_batches():
    queue = BatchQueue(100)
    entry = Entry(10, NEVER)
    queue.add(entry)
    assert taken(queue.take(0, 4)) == [(entry, 0, 4)]
    assert queue.cancel(entry) == 6
    assert queue.images == 0
    assert taken(queue.take(0, 4)) == []


ACTIONS = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 40), st.integers(0, 50)),
    st.tuples(st.just("take"), st.integers(1, 16), st.just(0)),
    st.tuples(st.just("cancel"), st.integers(0, 30), st.just(0)),
)


@given(st.lists(ACTIONS, max_size=60), st.integers(1, 80))
def test_every_image_is_made_once_or_dropped(actions, limit):
    """Whatever comes, in whatever order: nothing is made twice, lost, late, or beyond the limits."""
    queue, clock = BatchQueue(limit), 0
    entries, progress, ended = [], {}, set()

    def take(room):
        batch = queue.take(clock, room)
        ended.update(batch.expired)
        assert sum(piece.stop - piece.start for piece in batch.slices) <= room
        for piece in batch.slices:
            assert piece.entry not in ended
            assert piece.entry.deadline > clock
            assert piece.start == progress[piece.entry] < piece.stop <= piece.entry.images
            progress[piece.entry] = piece.stop
        return batch

    for action, number, lifetime in actions:
        clock += 1
        if action == "add":
            entry = Entry(number, clock + lifetime)
            before = queue.images
            try:
                queue.add(entry)
            except QueueFullError:
                assert before + number > limit
                continue
            entries.append(entry)
            progress[entry] = 0
        elif action == "take":
            before = queue.images
            batch = take(number)
            if before and not batch.expired:
                assert sum(piece.stop - piece.start for piece in batch.slices) == min(number, before)
        elif entries:
            entry = entries[number % len(entries)]
            waited = queue.cancel(entry)
            if waited:
                assert waited == entry.images - progress[entry]
                ended.add(entry)
        assert queue.images == sum(e.images - progress[e] for e in entries if e not in ended)
    while queue.images:
        take(16)
    assert all(entry in ended or progress[entry] == entry.images for entry in entries)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=20), st.integers(1, 40))
def test_shares_are_fair(sizes, room):
    queue = BatchQueue(10_000)
    for size in sizes:
        queue.add(Entry(size, NEVER))
    shares = {piece.entry: piece.stop - piece.start for piece in queue.take(0, room).slices}
    least = min((share for entry, share in shares.items() if entry.waiting), default=None)
    if least is not None:
        assert all(share <= least + room // len(shares) + 1 for share in shares.values())
        assert sum(shares.values()) == room


def test_throughput_follows_the_device():
    pace = Throughput()
    assert pace.seconds_for(50) == 1.0
    pace.record(10, 1.0)
    assert pace.seconds_for(50) == pytest.approx(5.0)
    for _ in range(100):
        pace.record(10, 0.1)
    assert pace.seconds_for(50) == pytest.approx(0.5, rel=0.01)
