from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from mbuf import Freed, Inval, Mbuf, MbufQ, NoBufs, Pool


def test_the_first_in_is_the_first_out(pool: Pool) -> None:
    queue = MbufQ()
    packets = [pool.gethdr().append(bytes([n])) for n in range(5)]
    for n, m in enumerate(packets, 1):
        queue.enqueue(m)
        assert queue.count == n
    assert queue.first is packets[0]
    for n, m in enumerate(packets, 1):
        assert queue.dequeue() is m
        assert (queue.count, m.nextpkt) == (5 - n, None)
    assert (queue.dequeue(), queue.first, queue.count) == (None, None, 0)
    pool.free_bulk(packets)


def test_an_empty_queue_is_used_again(pool: Pool) -> None:
    queue = MbufQ()
    m = pool.gethdr()
    for _ in range(3):
        queue.enqueue(m)
        assert queue.dequeue() is m
        assert queue.dequeue() is None
    m.free()


def test_a_queue_owns_what_is_in_it(make: Callable[..., Pool]) -> None:
    pool = make(mem=1 << 36)
    queue = MbufQ()
    for _ in range(30_000):
        queue.enqueue(pool.gethdr())
    assert pool.out == queue.count == 30_000
    del queue
    assert (pool.out, pool.stat().drops) == (0, 30_000)


def test_what_was_freed_is_not_queued(pool: Pool) -> None:
    queue = MbufQ()
    m = pool.gethdr()
    m.free()
    with pytest.raises(Freed):
        queue.enqueue(m)
    assert queue.count == 0


@pytest.mark.parametrize("junk", [None, 1, "m", b"m"])
def test_only_packets_are_queued(pool: Pool, junk: Any) -> None:
    queue = MbufQ()
    with pytest.raises((Inval, TypeError, AttributeError)):
        queue.enqueue(junk)
    assert (queue.count, queue.first) == (0, None)


def test_a_list_of_packets_is_not_queued_as_one(make: Callable[..., Pool]) -> None:
    pool = make()
    queue = MbufQ()
    m, n = pool.gethdr(), pool.gethdr()
    m.nextpkt = n
    try:
        queue.enqueue(m)
    except Inval:
        assert queue.count == 0
    else:
        while queue.dequeue() is not None:
            assert queue.count >= 0
        assert queue.count == 0
    finally:
        m.nextpkt = None
        pool.free_bulk([m, n])


def test_a_packet_is_in_a_queue_once(make: Callable[..., Pool]) -> None:
    pool = make()
    queue = MbufQ()
    m = pool.gethdr()
    queue.enqueue(m)
    try:
        with pytest.raises(Inval):
            queue.enqueue(m)
    finally:
        queue.dequeue()
        m.free()


def line(pool: Pool, count: int, maxlen: int = 0) -> tuple[MbufQ, list[Mbuf]]:
    """A queue with packets of one byte each, and the packets."""
    queue = MbufQ(maxlen)
    packets = [pool.gethdr().append(bytes([n])) for n in range(count)]
    for m in packets:
        queue.enqueue(m)
    return queue, packets


def whole(queue: MbufQ, packets: list[Mbuf]) -> None:
    """Check that the queue has these packets, with all its methods."""
    assert list(queue) == packets
    assert (queue.count, len(queue), bool(queue)) == (len(packets), len(packets), bool(packets))
    assert queue.first is (packets[0] if packets else None)
    assert queue.last is (packets[-1] if packets else None)
    assert [m.nextpkt for m in packets] == [*packets[1:], None][: len(packets)]


@pytest.mark.parametrize("count", range(4))
def test_a_queue_shows_what_is_in_it(make: Callable[..., Pool], count: int) -> None:
    queue, packets = line(make(), count)
    whole(queue, packets)
    queue.drain()


def test_a_full_queue_takes_no_more(pool: Pool) -> None:
    queue, packets = line(pool, 2, maxlen=3)
    assert (queue.maxlen, queue.full) == (3, False)
    packets.append(pool.gethdr())
    queue.enqueue(packets[2])
    m = pool.gethdr()
    for _ in range(2):
        assert queue.full
        with pytest.raises(NoBufs) as refused:
            queue.enqueue(m)
    assert (refused.value.limit, refused.value.used) == (3, 3)
    # It still belongs to the caller.
    assert m.nextpkt is None
    whole(queue, packets)
    packets.pop(0)
    pool.free_bulk([queue.dequeue()])
    queue.enqueue(m)
    whole(queue, [*packets, m])
    queue.drain()


@pytest.mark.parametrize("maxlen", [0, -1, -(1 << 70), 1 << 70])
def test_a_queue_without_a_limit_is_never_full(make: Callable[..., Pool], maxlen: int) -> None:
    queue, packets = line(make(), 50, maxlen=maxlen)
    assert not queue.full
    whole(queue, packets)
    queue.drain()
    assert not queue.full


def test_a_limit_is_a_whole_number() -> None:
    with pytest.raises(TypeError):
        MbufQ(1.5)  # type: ignore[arg-type]


def test_prepend_ignores_the_limit(pool: Pool) -> None:
    queue = MbufQ(maxlen=1)
    packets: list[Mbuf] = []
    for _ in range(3):
        packets.insert(0, pool.gethdr())
        queue.prepend(packets[0])
        whole(queue, packets)
        assert queue.full
    m = packets.pop(0)
    assert queue.dequeue() is m
    m.free()
    whole(queue, packets)
    queue.drain()


@pytest.mark.parametrize("verb", [MbufQ.enqueue, MbufQ.prepend])
def test_what_cannot_be_queued_changes_nothing(pool: Pool, verb: Callable[[MbufQ, Any], None]) -> None:
    queue, packets = line(pool, 3)
    freed = pool.gethdr()
    freed.free()
    for junk in (None, 1, b"m", freed, *packets):
        with pytest.raises((Inval, Freed, TypeError, AttributeError)):
            verb(queue, junk)
        whole(queue, packets)
    queue.drain()


def test_drain_frees_every_packet_whole(pool: Pool) -> None:
    queue, packets = line(pool, 3)
    packets[1].append(bytes(1000))
    assert pool.out > 3
    queue.drain()
    assert pool.out == 0
    whole(queue, [])
    with pytest.raises(Freed):
        bytes(packets[0])
    queue.drain()
    whole(queue, [])


@pytest.mark.parametrize("count", range(4))
def test_flush_gives_all_packets_linked(make: Callable[..., Pool], count: int) -> None:
    queue, packets = line(make(), count)
    m = queue.flush()
    whole(queue, [])
    for n in packets:
        assert m is n
        m = n.nextpkt
        n.nextpkt = None
        queue.enqueue(n)
    assert m is None
    whole(queue, packets)
    queue.drain()


@pytest.mark.parametrize("maxlen", [0, 1])
@pytest.mark.parametrize(("ours", "theirs"), [(0, 0), (0, 2), (1, 1), (2, 0), (3, 3)])
def test_concat_moves_all_packets_behind(make: Callable[..., Pool], ours: int, theirs: int, maxlen: int) -> None:
    pool = make()
    queue, packets = line(pool, 0, maxlen)
    for _ in range(ours):
        packets.insert(0, pool.gethdr())
        queue.prepend(packets[0])
    other, more = line(pool, theirs)
    queue.concat(other)
    whole(queue, packets + more)
    whole(other, [])
    m = pool.gethdr()
    other.enqueue(m)
    whole(other, [m])
    whole(queue, packets + more)
    queue.drain()
    other.drain()


def test_a_queue_is_not_moved_behind_itself(make: Callable[..., Pool]) -> None:
    queue, packets = line(make(), 2)
    for junk in (queue, None, 1):
        with pytest.raises((Inval, TypeError, AttributeError)):
            queue.concat(junk)  # type: ignore[arg-type]
        whole(queue, packets)
    queue.drain()


# Packets that are freed while they are queued: an error of the program, but the queue works.


def alive(m: Mbuf) -> bool:
    return "freed" not in repr(m)


@pytest.mark.parametrize("freed", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("more", range(3))
def test_a_queue_goes_on_after_packets_in_it_were_freed(pool: Pool, freed: tuple[int, ...], more: int) -> None:
    queue, packets = line(pool, 3)
    for n in freed:
        packets[n].free()
    for _ in range(more):
        packets.append(pool.gethdr())
        queue.enqueue(packets[-1])
    # The packets before the first freed one, and those that were added later.
    expected = packets[: min(freed)] + packets[3:]
    assert list(queue) == expected
    for m in expected:
        assert queue.dequeue() is m
        assert m.nextpkt is None
    assert queue.dequeue() is None
    whole(queue, [])
    queue.enqueue(expected[0] if expected else pool.gethdr())
    assert queue.count == 1
    queue.drain()
    pool.free_bulk([m for m in packets if alive(m)])


@pytest.mark.parametrize("freed", range(3))
def test_packets_that_are_cut_off_and_have_no_reference_are_dropped(make: Callable[..., Pool], freed: int) -> None:
    pool = make()
    queue, packets = line(pool, 4)
    m = packets[freed]
    packets.clear()
    m.free()
    assert pool.out == freed + 1
    queue.drain()
    assert pool.out == queue.count == 0


def test_a_packet_that_was_freed_is_not_linked_to(make: Callable[..., Pool]) -> None:
    """Otherwise it would keep the next packet as long as its item keeps the handle."""
    pool = make()
    for verb in (MbufQ.enqueue, MbufQ.prepend):
        queue, packets = line(pool, 1)
        packets.pop().free()
        verb(queue, pool.gethdr())
        del queue
        assert pool.out == 0
    queue, packets = line(pool, 1)
    other, more = line(pool, 1)
    packets.pop().free()
    queue.concat(other)
    assert list(queue) == more
    del queue, more
    assert pool.out == 0


def test_flush_begins_with_a_packet_that_is_there(pool: Pool) -> None:
    queue, packets = line(pool, 2)
    packets[0].free()
    assert queue.flush() is None
    whole(queue, [])
    packets[1].free()
    queue.enqueue(pool.gethdr())
    m = queue.first
    assert m is not None
    m.free()
    assert queue.flush() is None
    whole(queue, [])


def test_whatever_is_done_to_packets_in_line_every_queue_ends(make: Callable[..., Pool]) -> None:
    """Each packet is dequeued at most once and is not freed; at the end nothing is left."""
    pool = make()
    random = Random(3)
    for _ in range(300):
        queues = [MbufQ(random.choice([0, 6])) for _ in range(2)]
        inside: list[Mbuf] = []
        for _ in range(40):
            queue, other = random.sample(queues, 2)
            verb = random.randrange(10)
            if verb < 4 and not queue.full:
                inside.append(pool.gethdr())
                queue.enqueue(inside[-1])
            elif verb == 4:
                inside.append(pool.gethdr())
                queue.prepend(inside[-1])
            elif verb == 5 and inside:
                # Only its queue refers to it after that.
                inside.pop(random.randrange(len(inside)))
            elif verb == 6 and inside:
                m = inside.pop(random.randrange(len(inside)))
                if random.random() < 0.7:
                    m.free()
                else:
                    m.nextpkt = None
            elif verb == 7:
                queue.concat(other)
                assert not other
            else:
                for m in queue:
                    assert alive(m)
                given = queue.dequeue()
                if given is not None:
                    inside = [m for m in inside if m is not given]
                    given.free()
        for queue in queues:
            for m in list(queue):
                assert queue.dequeue() is m
                m.free()
            assert queue.dequeue() is None
            whole(queue, [])
        del m, given, inside, queue, other, queues
        assert pool.out == 0


def test_what_ends_the_program_is_raised_when_all_packets_are_free(make: Callable[..., Pool]) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    pool = make()
    queue = MbufQ()
    for m in (pool.wrap(bytearray(10), interrupt), pool.getcl()):
        queue.enqueue(m)
    del m
    with pytest.raises(KeyboardInterrupt):
        queue.drain()
    assert (len(queue), pool.out) == (0, 0)
