"""dpkt and python-pcapng read the same packets."""

import io
from collections.abc import Callable
from pathlib import Path

import dpkt
import pcapng
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net import captures
from net.captures import Plain, read

REAL = sorted((Path(__file__).parents[3] / "captures").glob("*.pcap"))

ORDERS = st.sampled_from("<>")
PACKETS = st.lists(
    st.builds(
        lambda micros, data, more: (micros * 1000, data, len(data) + more),
        st.integers(0, 0xFFFFFFFF * 1_000_000),
        st.binary(max_size=300),
        st.integers(0, 1000),
    ),
    max_size=8,
)


def dpkt_packets(content: bytes) -> list[tuple[int, bytes]]:
    """Return timestamps and bytes as dpkt reads them, in microseconds: its floats have no more precision."""
    reader = dpkt.pcap.UniversalReader(io.BytesIO(content))
    return [(round(float(timestamp) * 1_000_000) * 1000, data) for timestamp, data in reader]


def pcapng_packets(content: bytes) -> list[Plain]:
    """Return the packets that python-pcapng reads."""
    blocks = pcapng.FileScanner(io.BytesIO(content))
    return [
        (
            (block.timestamp_high << 32 | block.timestamp_low) * 1000,
            block.packet_data,
            block.packet_len,
        )
        for block in blocks
        if isinstance(block, (pcapng.blocks.EnhancedPacket, pcapng.blocks.ObsoletePacket))
    ]


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_dpkt_reads_the_same_from_a_real_capture(path: Path) -> None:
    packets = read(path)
    assert len(packets) > 100
    assert [(timestamp, data) for timestamp, data, _ in packets] == dpkt_packets(path.read_bytes())


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
def test_python_pcapng_reads_the_same_from_a_real_capture(path: Path, order: str, tmp_path: Path) -> None:
    packets = read(path)
    content = captures.pcapng(packets, order)
    (tmp_path / "capture").write_bytes(content)
    assert read(tmp_path / "capture") == packets == pcapng_packets(content)
    assert [(timestamp, data) for timestamp, data, _ in packets] == dpkt_packets(content)


@given(packets=PACKETS, order=ORDERS, kind=st.sampled_from(["micro", "nano"]))
def test_dpkt_reads_the_same_from_a_random_pcap_file(
    tmp_path_factory: pytest.TempPathFactory, packets: list[Plain], order: str, kind: str
) -> None:
    content = captures.pcap(packets, order, kind)
    path = tmp_path_factory.getbasetemp() / "pcap"
    path.write_bytes(content)
    assert read(path) == packets
    assert [data for _, data, _ in packets] == [data for _, data in dpkt_packets(content)]


@given(packets=PACKETS, order=ORDERS, builders=st.lists(st.sampled_from([captures.enhanced, captures.obsolete])))
def test_python_pcapng_reads_the_same_from_a_random_pcapng_file(
    tmp_path_factory: pytest.TempPathFactory,
    packets: list[Plain],
    order: str,
    builders: list[Callable[..., bytes]],
) -> None:
    builders = builders + [captures.enhanced] * len(packets)
    content = captures.section(order) + captures.interface(order)
    content += b"".join(build(packet, order) for build, packet in zip(builders, packets, strict=False))
    path = tmp_path_factory.getbasetemp() / "pcapng"
    path.write_bytes(content)
    assert read(path) == packets == pcapng_packets(content)
