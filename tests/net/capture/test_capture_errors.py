"""Invalid files: one CaptureError of one line, after all packets before the error, in bounded memory."""

import gzip
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbuf.errors import CaptureError
from mbuf.net.capture.capture import WINDOW, Capture
from mbuf.net.capture.pcap import MAX_BLOCK_SIZE
from net.captures import (
    PACKETS,
    Plain,
    block,
    enhanced,
    interface,
    obsolete,
    option,
    pcap,
    pcap_header,
    pcap_record,
    pcapng,
    plain,
    section,
    simple,
)

Write = Callable[[bytes], Path]

HEADER = section() + interface()
ONE = (0, b"data", 60)
MANY = [(n * 1_000_000, bytes([n % 256]) * (n % 1500), 1500) for n in range(1600)]

VARIANTS = {
    **{
        f"{kind}{order}": [
            pcap_header(order, kind),
            *(pcap_record(packet, order, kind) for packet in PACKETS),
        ]
        for kind in ("micro", "nano", "modified")
        for order in "<>"
    },
    **{
        f"pcapng{order}": [
            section(order),
            interface(order),
            block(99, b"any", order),
            *(enhanced(packet, order) for packet in PACKETS),
            *(obsolete(packet, order) for packet in PACKETS),
            simple(b"simple", order=order),
        ]
        for order in "<>"
    },
}
"""By name: the headers, records and blocks of a capture."""


def read_until(path: Path) -> tuple[list[Plain], str]:
    """Return the packets before an error, and its message without the path; "" if there is none."""
    packets: list[Plain] = []
    try:
        with Capture(path) as capture:
            try:
                packets.extend(plain(capture))
            finally:
                assert capture.packets == len(packets)
    except CaptureError as error:
        text = str(error)
        assert text.startswith(f"{path}: offset ")
        assert "\n" not in text
        return packets, text.removeprefix(f"{path}: ")
    return packets, ""


def offsets_of(parts: list[bytes]) -> Iterator[tuple[int, int]]:
    """Iterate over the offsets at which each part begins and ends."""
    ends = list(accumulate(map(len, parts)))
    return zip([0, *ends], ends, strict=False)


@pytest.mark.parametrize("parts", VARIANTS.values(), ids=VARIANTS)
def test_a_prefix_is_valid_at_a_boundary_and_else_names_what_is_truncated(write: Write, parts: list[bytes]) -> None:
    expected, error = read_until(write(b"".join(parts)))
    assert error == ""
    for begin, end in offsets_of(parts):
        before, _ = read_until(write(b"".join(parts)[:begin])) if begin else ([], "")
        for size in range(begin + 1, end):
            packets, error = read_until(write(b"".join(parts)[:size]))
            assert packets == before
            assert error.startswith(f"offset {begin}: ")
        packets, error = read_until(write(b"".join(parts)[:end]))
        assert error == ""
        assert packets == expected[: len(packets)]


@pytest.mark.parametrize("content", [pcap(), pcapng()], ids=["pcap", "pcapng"])
def test_a_prefix_of_a_gzip_file_is_truncated(write: Write, content: bytes) -> None:
    packed = gzip.compress(content)
    seen = set()
    for size in range(4, len(packed)):
        packets, error = read_until(write(packed[:size]))
        assert error == f"offset {size}: gzip data is truncated"
        assert packets == PACKETS[: len(packets)]
        seen.add(len(packets))
    assert max(seen) == len(PACKETS)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "offset 0: is empty, not a capture"),
        (gzip.compress(b"", mtime=0), "offset 0: is empty, not a capture"),
        (b"\xd4\xc3\xb2", "offset 0: is not a pcap or pcapng file: it begins with d4c3b2"),
        (b"GIF89a", "offset 0: is not a pcap or pcapng file: it begins with 47494638"),
        (bytes(1000), "offset 0: is not a pcap or pcapng file: it begins with 00000000"),
        (
            gzip.compress(gzip.compress(b"", mtime=0), mtime=0),
            "offset 0: is not a pcap or pcapng file: it begins with 1f8b0800",
        ),
        (b"\x1f\x8b", "offset 2: gzip data is truncated"),
        (b"\x1f\x8bnot gzip", "offset 3: gzip data is corrupt: unknown compression method"),
        (pcap()[:20], "offset 0: file header is truncated: 20 of 24 bytes"),
        (pcap_header(major=1), "offset 0: pcap version 1.4 is not supported"),
        (pcap_header() + bytes(15), "offset 24: record is truncated: 15 of 16 bytes"),
        (pcap([ONE])[:-1], "offset 24: record is truncated: 19 of 20 bytes"),
        (pcap([ONE], kind="modified")[:-1], "offset 24: record is truncated: 27 of 28 bytes"),
        (
            pcap_header() + pcap_record(ONE, captured=262145),
            "offset 24: captured length 262145 is above 262144",
        ),
        (
            pcap_header(snaplen=300_000) + pcap_record(ONE, captured=300_001),
            "offset 24: captured length 300001 is above 300000",
        ),
        (
            pcap_header(snaplen=0xFFFFFFFF) + pcap_record(ONE, captured=0xFFFFFFFF),
            "offset 24: captured length 4294967295 is above 16777216",
        ),
        (section()[:11], "offset 0: block is truncated: 11 of 12 bytes"),
        (section()[:27], "offset 0: block is truncated: 27 of 28 bytes"),
        (section(magic=0x01020304), "offset 0: byte-order magic 04030201 is unknown"),
        (section(major=2), "offset 0: pcapng version 2.0 is not supported"),
        (section() + enhanced(ONE), "offset 28: interface 0 is not described"),
        (HEADER + enhanced(ONE, interface_id=1), "offset 48: interface 1 is not described"),
        (HEADER + obsolete(ONE, interface_id=1), "offset 48: interface 1 is not described"),
        (HEADER + section() + simple(b""), "offset 76: interface 0 is not described"),
        (HEADER + block(6, bytes(16)), "offset 48: block length 28 is not a multiple of 4 from 32 to 16777216"),
        (HEADER + block(1, bytes(4)), "offset 48: block length 16 is not a multiple of 4 from 20 to 16777216"),
        (
            HEADER + block(9, b"", first=8),
            "offset 48: block length 8 is not a multiple of 4 from 12 to 16777216",
        ),
        (
            HEADER + block(9, b"", first=0),
            "offset 48: block length 0 is not a multiple of 4 from 12 to 16777216",
        ),
        (
            HEADER + block(9, bytes(4), first=15),
            "offset 48: block length 15 is not a multiple of 4 from 12 to 16777216",
        ),
        (
            HEADER + block(6, bytes(100), first=0xFFFFFFFC),
            "offset 48: block length 4294967292 is not a multiple of 4 from 32 to 16777216",
        ),
        (HEADER + block(9, bytes(4), last=12), "offset 48: block length is 16 at its start, 12 at its end"),
        (HEADER + block(6, bytes(20), last=36), "offset 48: block length is 32 at its start, 36 at its end"),
        (
            HEADER + enhanced(ONE)[:4] + b"\x25\0\0\0" + enhanced(ONE)[8:-4] + b"!\x25\0\0\0",
            "offset 48: block length 37 is not a multiple of 4 from 32 to 16777216",
        ),
        (HEADER + enhanced(ONE, captured=5), "offset 48: captured length 5 is above the 4 bytes of its block"),
        (HEADER + simple(b"", 5), "offset 48: captured length 5 is above the 0 bytes of its block"),
        (
            HEADER + enhanced((0, bytes(262148), 1), captured=262145),
            "offset 48: captured length 262145 is above 262144",
        ),
        (
            section() + interface(options=b"\2\0\5\0eth0"),
            "offset 28: option 2 of 5 bytes runs past its block",
        ),
        (section() + interface(options=option(9, b"\6\6")), "offset 28: if_tsresol has a length of 2, not 1"),
        (section() + interface(options=option(14, b"\6")), "offset 28: if_tsoffset has a length of 1, not 8"),
        (
            section() + interface() * 65537,
            f"offset {28 + 20 * 65536}: more than 65536 interfaces in a section",
        ),
    ],
)
def test_an_error_is_a_message_of_one_line(write: Write, content: bytes, error: str) -> None:
    assert read_until(write(content)) == ([], error)


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_packets_before_an_error_are_read_and_counted(write: Write, compress: Callable[[bytes], bytes]) -> None:
    bad = pcap_record(ONE, captured=0xFFFFFFFF)
    packets, error = read_until(write(compress(pcap(MANY) + bad)))
    assert packets == MANY
    assert error.startswith(f"offset {len(pcap(MANY))}: captured length")
    packets, error = read_until(write(compress(pcapng(MANY) + block(6, b""))))
    assert packets == MANY
    assert error.startswith(f"offset {len(pcapng(MANY))}: block length")


def test_the_position_is_that_of_the_error(write: Write) -> None:
    with Capture(write(pcap(MANY)[:-1])) as capture:
        with pytest.raises(CaptureError):
            list(capture)
        assert capture.packets == len(MANY) - 1
        assert capture.position == len(pcap(MANY[:-1]))


@pytest.mark.parametrize(
    ("place", "what"), [(-8, "incorrect data check"), (-1, "incorrect length check")], ids=["crc", "length"]
)
def test_a_wrong_checksum_is_raised_after_the_last_packet(write: Write, place: int, what: str) -> None:
    packed = bytearray(gzip.compress(pcap()))
    packed[place] ^= 0xFF
    packets, error = read_until(write(bytes(packed)))
    assert packets == PACKETS
    assert error.endswith(f": gzip data is corrupt: {what}")


def test_packets_before_corrupt_gzip_data_are_read(write: Write) -> None:
    pieces = zlib.compressobj(wbits=31)
    packed = pieces.compress(pcap()) + pieces.flush(zlib.Z_FULL_FLUSH)
    packets, error = read_until(write(packed + b"\xff" * 100))
    assert packets == PACKETS
    assert error == f"offset {len(packed)}: gzip data is corrupt: invalid block type"


def test_a_gzip_member_is_followed_by_another_one_or_zeros(write: Write) -> None:
    packed = gzip.compress(pcap())
    packets, error = read_until(write(packed + b"\0\0garbage"))
    assert packets == PACKETS
    assert error.startswith(f"offset {len(packed) + 3}: gzip data is corrupt: ")


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    "content",
    [
        pcap_header(snaplen=0xFFFFFFFF) + pcap_record(ONE, captured=0xFFFFFFFF),
        pcap_header(snaplen=0xFFFFFFFF) + pcap_record(ONE, captured=MAX_BLOCK_SIZE),
        HEADER + block(6, bytes(60), first=0xFFFFFFFC),
        HEADER + block(6, bytes(60), first=MAX_BLOCK_SIZE),
        HEADER + block(99, bytes(60), first=MAX_BLOCK_SIZE),
        HEADER + block(6, struct.pack("<5I", 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF)),
        HEADER + simple(b"", 0xFFFFFFFF),
    ],
)
def test_a_length_longer_than_the_file_takes_no_memory(
    write: Write, compress: Callable[[bytes], bytes], content: bytes
) -> None:
    path = write(compress(content))
    tracemalloc.start()
    try:
        _, error = read_until(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error
    assert peak < 6 * WINDOW


def test_a_gzip_bomb_is_decompressed_a_window_at_a_time(write: Write) -> None:
    path = write(gzip.compress(HEADER + block(99, bytes(4 << 20)) * 8 + enhanced(ONE)))
    tracemalloc.start()
    try:
        assert read_until(path) == ([ONE], "")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


@given(
    parts=st.sampled_from(list(VARIANTS.values())),
    flips=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 7)), min_size=1, max_size=6),
    packed=st.booleans(),
    flip_packed=st.booleans(),
)
def test_flipped_bits_raise_only_capture_errors(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[bytes],
    flips: list[tuple[int, int]],
    packed: bool,
    flip_packed: bool,
) -> None:
    content = b"".join(parts)
    if packed and flip_packed:
        content = flipped(gzip.compress(content), flips)
    elif packed:
        content = gzip.compress(flipped(content, flips))
    else:
        content = flipped(content, flips)
    path = tmp_path_factory.getbasetemp() / "flipped"
    path.write_bytes(content)
    packets, _ = read_until(path)
    assert len(packets) <= len(parts)


@given(magic=st.sampled_from([parts[0] for parts in VARIANTS.values()]), content=st.binary(max_size=400))
def test_random_bytes_after_a_header_raise_only_capture_errors(
    tmp_path_factory: pytest.TempPathFactory, magic: bytes, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(magic + content)
    read_until(path)


def flipped(content: bytes, flips: list[tuple[int, int]]) -> bytes:
    """Return the content with some of its bits flipped."""
    changed = bytearray(content)
    for place, bit in flips:
        changed[place % len(changed)] ^= 1 << bit
    return bytes(changed)
