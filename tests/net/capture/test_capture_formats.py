"""Each variant of pcap and pcapng."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mbuf.net.capture.capture import Capture
from net.captures import (
    PACKETS,
    block,
    enhanced,
    interface,
    obsolete,
    option,
    pcap,
    pcap_header,
    pcap_record,
    pcapng,
    read,
    resolution,
    section,
    simple,
)

Write = Callable[[bytes], Path]

ORDERS = pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
ONE = (0, b"data", 60)


@ORDERS
@pytest.mark.parametrize("kind", ["micro", "nano", "modified"])
def test_a_pcap_file_is_read(write: Write, order: str, kind: str) -> None:
    assert read(write(pcap(PACKETS, order, kind))) == PACKETS


def test_a_timestamp_in_nanoseconds_is_exact(write: Write) -> None:
    packet = (1_700_000_000_123_456_789, b"data", 4)
    assert read(write(pcap([packet], kind="nano"))) == [packet]


def test_a_timestamp_may_have_seconds_of_32_bits(write: Write) -> None:
    packet = (0xFFFFFFFF * 1_000_000_000, b"data", 4)
    assert read(write(pcap([packet]))) == [packet]


def test_a_fraction_of_more_than_a_second_is_added(write: Write) -> None:
    record = b"\1\0\0\0\xff\xff\xff\xff" + pcap_record(ONE)[8:]
    assert read(write(pcap_header() + record)) == [(1_000_000_000 + 0xFFFFFFFF * 1000, b"data", 60)]


def test_a_capture_without_packets_is_valid(write: Write) -> None:
    assert read(write(pcap([]))) == []
    assert read(write(pcapng([]))) == []


def test_the_link_type_is_without_the_length_of_the_frame_check_sequence(write: Write) -> None:
    with Capture(write(pcap_header(linktype=0x54000000 | 228))) as capture:
        assert capture.linktype == 228


@pytest.mark.parametrize("snaplen", [0, 10, 262144, 0xFFFFFFFF])
def test_a_frame_longer_than_the_snaplen_is_accepted_up_to_the_maximum(write: Write, snaplen: int) -> None:
    packet = (0, bytes(262144), 262144)
    assert read(write(pcap([packet], snaplen=snaplen))) == [packet]


@ORDERS
def test_a_pcapng_file_is_read(write: Write, order: str) -> None:
    assert read(write(pcapng(PACKETS, order))) == PACKETS


@ORDERS
def test_obsolete_packet_blocks_are_read(write: Write, order: str) -> None:
    blocks = b"".join(obsolete(packet, order, interface_id=1, drops=7) for packet in PACKETS)
    assert read(write(section(order) + interface(order) * 2 + blocks)) == PACKETS


@ORDERS
def test_a_simple_packet_block_has_the_timestamp_of_the_previous_packet(write: Write, order: str) -> None:
    content = section(order) + interface(order) + simple(b"first", order=order) + enhanced((7000, b"", 9), order)
    content += simple(b"then", order=order) + obsolete((9000, b"", 9), order) + simple(b"last", order=order)
    packets = [(0, b"first", 5), (7000, b"", 9), (7000, b"then", 4), (9000, b"", 9), (9000, b"last", 4)]
    assert read(write(content)) == packets


def test_a_simple_packet_block_has_at_most_snaplen_bytes(write: Write) -> None:
    content = section() + interface(snaplen=6) + simple(b"snappy\0\0", 1500) + simple(b"all", 3)
    assert read(write(content)) == [(0, b"snappy", 1500), (0, b"all", 3)]


@pytest.mark.parametrize(
    ("value", "units", "timestamp"),
    [
        (0, 7, 7_000_000_000),
        (3, 7, 7_000_000),
        (6, 7, 7000),
        (9, 1 << 63, 1 << 63),
        (12, 12_345, 12),
        (127, (1 << 64) - 1, 0),
        (0x80, 7, 7_000_000_000),
        (0x80 | 10, 1536, 1_500_000_000),
        (0x80 | 32, 3 << 31, 1_500_000_000),
        (0xFF, (1 << 64) - 1, 0),
    ],
)
@ORDERS
def test_an_interface_has_a_timestamp_resolution(
    write: Write, order: str, value: int, units: int, timestamp: int
) -> None:
    content = section(order) + interface(order, options=resolution(value, order))
    assert read(write(content + enhanced(ONE, order, units=units))) == [(timestamp, b"data", 60)]


@pytest.mark.parametrize("seconds", [0, 1_000_000, -5])
def test_an_interface_has_a_timestamp_offset(write: Write, seconds: int) -> None:
    options = option(2, b"eth10") + option(14, seconds.to_bytes(8, "little", signed=True))
    content = section() + interface(options=options) + enhanced(ONE, units=7)
    assert read(write(content)) == [(seconds * 1_000_000_000 + 7000, b"data", 60)]


def test_options_after_the_end_of_options_are_ignored(write: Write) -> None:
    options = option(0, b"") + option(9, b"\0")
    assert read(write(section() + interface(options=options) + enhanced(ONE, units=7))) == [(7000, b"data", 60)]


def test_each_interface_has_its_own_resolution(write: Write) -> None:
    content = section() + interface(linktype=113) + interface(linktype=1, options=resolution(9))
    content += enhanced(ONE, interface_id=1, units=7) + enhanced(ONE, interface_id=0, units=7)
    assert read(write(content)) == [(7, b"data", 60), (7000, b"data", 60)]
    with Capture(write(content)) as capture:
        assert capture.linktype == 113


def test_each_section_has_its_own_byte_order_and_interfaces(write: Write) -> None:
    content = pcapng(PACKETS, "<") + section(">") + interface(">", 101, options=resolution(9, ">"))
    content += enhanced(ONE, ">", units=7) + pcapng(PACKETS, "<")
    assert read(write(content)) == [*PACKETS, (7, b"data", 60), *PACKETS]
    with Capture(write(content)) as capture:
        assert capture.linktype == 1


@ORDERS
def test_other_blocks_are_skipped(write: Write, order: str) -> None:
    other = block(0x80000001, b"", order) + block(5, bytes(100), order) + block(4, bytes(300_000), order)
    head = section(order) + other + interface(order)
    content = head + other + other.join(enhanced(packet, order) for packet in PACKETS) + other
    assert read(write(content)) == PACKETS


def test_options_after_a_packet_are_skipped(write: Write) -> None:
    body = enhanced(ONE)[8:-4] + option(1, b"a comment") + option(0, b"")
    assert read(write(section() + interface() + block(6, body))) == [ONE]


def test_a_pcapng_file_may_have_no_interface(write: Write) -> None:
    path = write(section() + block(5, bytes(8)))
    assert read(path) == []
    with Capture(path) as capture:
        assert capture.linktype is None
