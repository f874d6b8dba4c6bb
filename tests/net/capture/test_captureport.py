"""CapturePort and CaptureWriter: what one writes, the other reads."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mbuf import M_NOTREADY, M_TSTMP, M_VLANTAG, CaptureError, Freed, Inval, NotSupported, Pool
from mbuf.net.capture import captureport
from mbuf.net.capture.captureport import CapturePort, CaptureWriter, wire_length
from net.captures import PACKETS, pcap, pcapng, read

Write = Callable[[bytes], Path]


@pytest.mark.parametrize("content", [pcap(), pcapng(), pcap(kind="nano", order=">")])
def test_pull_returns_packets_with_their_timestamps(pool: Pool, write: Write, content: bytes) -> None:
    with CapturePort(pool, write(content)) as port:
        got = []
        while not port.ended:
            got += port.pull(3)
        assert [(m.pkthdr.rcv_tstmp, bytes(m)) for m in got] == [packet[:2] for packet in PACKETS]
        assert all(m.flags & M_TSTMP for m in got)
        assert port.pull(1) == []
        assert (port.stat().packets_in, port.stat().bytes_in) == (4, sum(len(packet[1]) for packet in PACKETS))
        pool.free_bulk(got)
        with pytest.raises(NotSupported):
            port.push([])
    with pytest.raises(Inval, match="closed"):
        port.pull(1)


def test_packets_before_an_error_are_returned_before_it_is_raised(pool: Pool, write: Write) -> None:
    with CapturePort(pool, write(pcap()[:-1])) as port:
        pool.free_bulk(port.pull(2))
        got = port.pull(9)
        assert len(got) == 1
        pool.free_bulk(got)
        for _ in range(2):
            with pytest.raises(CaptureError):
                port.pull(9)


def test_a_packet_without_memory_is_returned_later(small: Callable[..., Pool], write: Write) -> None:
    pool = small(clusters=2, mbufs=11)
    many = [(n, bytes([n]) * 100, 100) for n in range(30)]
    with CapturePort(pool, write(pcap(many, kind="nano"))) as port:
        found = []
        while not port.ended:
            got = port.pull(99)
            found += [m.copydata(0, 1)[0] for m in got]
            pool.free_bulk(got)
        assert found == list(range(30))
        assert port.stat().short > 0


@pytest.mark.parametrize("pcapng", [False, True])
def test_written_packets_can_be_read(pool: Pool, write: Write, tmp_path: Path, pcapng: bool) -> None:
    path = tmp_path / "copy"
    with CapturePort(pool, write(pcap())) as port, CaptureWriter(path, pcapng=pcapng) as writer:
        packets = port.pull(9)
        assert writer.push(packets) == 4
        assert packets == []
        assert (writer.stat().packets_out, writer.stat().calls_out) == (4, 2)
        with pytest.raises(NotSupported):
            writer.pull(1)
    assert read(path) == PACKETS
    with pytest.raises(Inval, match="closed"):
        writer.push([])


@pytest.mark.parametrize("pcapng", [False, True])
def test_long_chains_truncated_packets_and_missing_timestamps(pool: Pool, tmp_path: Path, pcapng: bool) -> None:
    data = [os.urandom(size) for size in (0, 1, 300, 20_000)]
    path = tmp_path / "out"
    with CaptureWriter(path, linktype=101, snaplen=15_000, pcapng=pcapng) as writer:
        tiny = pool.gethdr()
        for byte in data[2] * 5:
            tiny.last().next = pool.get().append(bytes([byte]))
        tiny.fixhdr()
        writer.push([pool.frombytes(piece) for piece in data] + [tiny])
    found = read(path)
    assert [(piece, length) for _, piece, length in found] == [
        *((piece[:15_000], len(piece)) for piece in data),
        (data[2] * 0 + bytes(b for b in data[2] * 5), 1500),
    ]
    assert all(when > 10**18 for when, _, _ in found)


def test_other_programs_read_what_is_written_as_pcapng(pool: Pool, tmp_path: Path) -> None:
    dpkt: Any = pytest.importorskip("dpkt")
    path = tmp_path / "out"
    with CaptureWriter(path, linktype=101, snaplen=100, pcapng=True) as writer:
        for when, data, _ in PACKETS:
            m = pool.frombytes(data)
            m.pkthdr.rcv_tstmp = when
            m.flags |= M_TSTMP
            writer.push([m])
    with path.open("rb") as file:
        reader = dpkt.pcapng.Reader(file)
        assert (reader.datalink(), reader.snaplen) == (101, 100)
        found = [(round(when * 10**6), data) for when, data in reader]
    assert found == [(when // 1000, data[:100]) for when, data, _ in PACKETS]


def test_many_packets_take_several_calls(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captureport, "IOV_MAX", 10)
    path = tmp_path / "out"
    with CaptureWriter(path) as writer:
        assert writer.push([pool.frombytes(bytes([n])) for n in range(23)]) == 23
        assert writer.stat().calls_out == 1 + 5
    assert [piece for _, piece, _ in read(path)] == [bytes([n]) for n in range(23)]


def test_a_failed_write_leaves_whole_records(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out"
    with CaptureWriter(path) as writer:
        writer.push([pool.frombytes(b"whole")])
        writev, write = os.writev, os.write

        def short(fd: int, pieces: list[memoryview]) -> int:
            return write(fd, b"".join(pieces)[:5])

        def full(fd: int, data: memoryview) -> int:
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(os, "writev", short)
        sent = [pool.frombytes(b"in two pieces")]
        assert writer.push(sent) == 1
        monkeypatch.setattr(os, "write", full)
        monkeypatch.setattr(os, "writev", lambda fd, pieces: write(fd, b"".join(pieces)[:5]))
        sent = [pool.frombytes(b"cut")]
        with pytest.raises(OSError, match="full"):
            writer.push(sent)
        assert len(sent) == 1
        monkeypatch.setattr(os, "writev", writev)
        assert writer.push(sent) == 1
    assert [piece for _, piece, _ in read(path)] == [b"whole", b"in two pieces", b"cut"]


def test_the_error_of_a_pipe_or_a_device_is_raised(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        CaptureWriter("/dev/full")
    assert caught.value.errno == errno.ENOSPC
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with CaptureWriter(fifo) as writer:
        os.close(reader)
        sent = [pool.frombytes(b"one")]
        with pytest.raises(BrokenPipeError):
            writer.push(sent)
        assert len(sent) == 1
        pool.free_bulk(sent)


def test_a_writer_whose_file_was_closed_elsewhere_is_closed_once(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "out")
    os.close(writer._fd)
    with pytest.raises(OSError, match="descriptor"):
        writer.close()
    assert writer.closed
    other = os.open(os.devnull, os.O_RDONLY)
    writer.close()
    os.close(other)


def test_a_packet_that_is_added_to_the_list_during_a_write_stays_in_it(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CaptureWriter(tmp_path / "out") as writer:
        sent, late = [pool.frombytes(b"one"), pool.frombytes(b"two")], pool.frombytes(b"late")
        writev = os.writev

        def interrupted(fd: int, buffers: list[memoryview]) -> int:
            sent.append(late)
            return writev(fd, buffers)

        monkeypatch.setattr(os, "writev", interrupted)
        assert writer.push(sent) == 2
        monkeypatch.undo()
        assert (sent, bytes(late)) == ([late], b"late")
        assert (writer.stat().packets_out, writer.stat().bytes_out) == (2, 6)
        assert writer.push(sent) == 1
    assert [data for _, data, _ in read(tmp_path / "out")] == [b"one", b"two", b"late"]


def test_a_vlan_tag_in_the_header_is_written_into_the_frame(pool: Pool, tmp_path: Path) -> None:
    for snaplen in (262144, 20):
        with CaptureWriter(tmp_path / "out", snaplen=snaplen) as writer:
            m = pool.frombytes(bytes(range(60)))
            m.flags |= M_VLANTAG
            m.pkthdr.ether_vtag = 7
            assert writer.push([m, pool.frombytes(bytes(60))]) == 2
            assert writer.stat().bytes_out == 124
        tagged = bytes(range(12)) + b"\x81\0\0\7" + bytes(range(12, 60))
        found = [(data, length) for _, data, length in read(tmp_path / "out")]
        assert found == [(tagged[:snaplen], 64), (bytes(60)[:snaplen], 60)]


def test_a_packet_that_is_in_the_list_twice_is_written_twice_and_all_are_freed(pool: Pool, tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "out") as writer:
        twice = pool.frombytes(b"twice")
        sent = [twice, twice, pool.frombytes(b"last")]
        with pytest.raises(Freed):
            writer.push(sent)
    assert (sent, pool.out) == ([], 0)
    assert [data for _, data, _ in read(tmp_path / "out")] == [b"twice", b"twice", b"last"]


def test_a_freed_packet_or_an_invalid_argument_is_refused(pool: Pool, tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "out") as writer:
        m, freed = pool.frombytes(b"one"), pool.getcl()
        freed.free()
        with pytest.raises(Freed):
            writer.push([freed, m])
        m.flags |= M_NOTREADY
        with pytest.raises(Inval, match="^push: .*M_NOTREADY"):
            writer.push([m])
        m.free()
    for words in ({"linktype": -1}, {"linktype": 65536}, {"snaplen": 0}, {"snaplen": 1 << 20}):
        with pytest.raises(Inval, match="give"):
            CaptureWriter(tmp_path / "none", **words)
    assert not (tmp_path / "none").exists()


def test_the_packets_before_one_that_cannot_be_written_are_written(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "out"
    packets = [pool.frombytes(b"%d" % n) for n in range(5)]
    packets[3].flags |= M_NOTREADY
    with CaptureWriter(path) as writer:
        with pytest.raises(Inval, match="M_NOTREADY"):
            writer.push(packets)
        assert (len(packets), writer.stat().packets_out) == (2, 3)
        with pytest.raises(Inval, match="M_NOTREADY"):
            writer.push(packets)
    assert [piece for _, piece, _ in read(path)] == [b"0", b"1", b"2"]
    pool.free_bulk(packets)


@pytest.mark.parametrize("pcapng_format", [False, True])
def test_the_length_of_a_packet_that_was_cut_is_kept(
    pool: Pool, write: Write, tmp_path: Path, pcapng_format: bool
) -> None:
    packets = [(0, b"whole", 5), (1, b"cut", 1500), (2, b"cut too", 9000)]
    path = tmp_path / "out"
    with (
        CapturePort(pool, write(pcap(packets, kind="nano"))) as port,
        CaptureWriter(path, snaplen=4, pcapng=pcapng_format) as writer,
    ):
        got = port.pull(9)
        assert [wire_length(m) for m in got] == [5, 1500, 9000]
        assert [len(m.tags) for m in got] == [0, 1, 1]
        got[2].freem()
        got[2] = got[1].dup()
        assert writer.push(got) == 3
        assert writer.stat().bytes_out == 5 + 3 + 3
    assert [(data, length) for _, data, length in read(path)] == [(b"whol", 5), (b"cut", 1500), (b"cut", 1500)]
    with pool.get().append(b"bare") as m:
        assert wire_length(m) == 4
