"""What a program calls, with the types that a type checker must see. It is checked and never run."""

from collections.abc import Iterator
from typing import Any, assert_type

from mbuf import Mbuf, MbufQ, NoBufs, Pool, RefCount, SockBuf, Vm
from mbuf.net import Datagrams, Peer, PortStat, QueuePort, StreamPort, UdpPort
from mbuf.packet.pkthdr import PktHdr
from mbuf.pool.stat import PoolStat
from mbuf.uma.stat import ZoneStat


def packets(pool: Pool) -> None:
    m = pool.getcl()
    assert_type(m, Mbuf)
    assert_type(m.append(b"bytes").prepend(14).pullup(14), Mbuf)
    assert_type(m.len, int)
    assert_type(m.next, Mbuf | None)
    assert_type(m.pkthdr, PktHdr)
    assert_type(m.pkthdr.len, int)
    assert_type(bytes(m), bytes)
    assert_type(m.copypacket(), Mbuf)
    assert_type(m.segment(1400), list[Mbuf])
    assert_type(m.in_cksum(), int)
    assert_type(m == b"bytes", bool)
    assert_type(m[0], int)
    assert_type(m.unpack("!HH"), tuple[Any, ...])
    assert_type(iter(m), Iterator[memoryview])
    with m as same:
        assert_type(same, Mbuf)
    assert_type(pool.getcl_bulk(32), list[Mbuf])
    assert_type(pool.wrap(bytearray(10)), Mbuf)


async def waiting(pool: Pool) -> None:
    assert_type(await pool.agetcl(), Mbuf)


def numbers(pool: Pool) -> None:
    assert_type(pool.stat(), PoolStat)
    assert_type(pool.stat().clust, ZoneStat)
    assert_type(pool.stat().clust.used, int)
    try:
        pool.get()
    except NoBufs as error:
        assert_type(error.zone, str)


def ports(pool: Pool, port: UdpPort, stream: StreamPort) -> None:
    assert_type(port.pull(32), list[Mbuf])
    assert_type(port.push(port.pull(32)), int)
    assert_type(port.stat(), PortStat)
    assert_type(stream.recv(), Mbuf | None)
    Datagrams(pool, QueuePort(), lambda m: assert_type(m, Mbuf))
    Datagrams(pool, QueuePort(), received_batch=lambda packets: assert_type(packets, list[Mbuf]))
    Peer(("127.0.0.1", 7))


def made() -> None:
    assert_type(Pool(Vm(1 << 26)), Pool)
    assert_type(MbufQ(), MbufQ)
    assert_type(SockBuf(), SockBuf)
    assert_type(RefCount(), RefCount)
