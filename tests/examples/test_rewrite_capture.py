"""examples/rewrite_capture.py in a process of its own; what it writes is read by dpkt."""

import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mbuf import Pool
from mbuf.net import CaptureWriter

dpkt: Any = pytest.importorskip("dpkt")

ROOT = Path(__file__).parents[2]
OLD, NEW = socket.inet_aton("192.0.2.1"), socket.inet_aton("198.51.100.7")
OTHER = socket.inet_aton("192.0.2.2")
OLD6, NEW6 = (socket.inet_pton(socket.AF_INET6, text) for text in ("2001:db8::1", "2001:db8:1::ffff"))
RULES = ("192.0.2.1=198.51.100.7", "2001:db8::1=2001:db8:1::ffff", ":80=:8080")


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "examples/rewrite_capture.py", *map(str, words)],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )


def packets() -> list[bytes]:
    """IP packets with right checksums, which dpkt computes."""
    made = []
    for n in range(50):
        payload = os.urandom(n)
        tcp = dpkt.tcp.TCP(sport=1000 + n, dport=80, seq=n, data=payload)
        udp = dpkt.udp.UDP(sport=80, dport=n, data=payload)
        udp.ulen = len(udp)
        for p, l4 in ((6, tcp), (17, udp)):
            for ip in (
                dpkt.ip.IP(src=OLD, dst=OTHER, p=p, data=l4),
                dpkt.ip.IP(src=OTHER, dst=OLD, p=p, data=l4),
                dpkt.ip6.IP6(src=OLD6, dst=bytes(16), nxt=p, hlim=9, plen=len(l4), data=l4),
            ):
                # dpkt computes a checksum that is 0.
                l4.sum = 0
                made.append(bytes(ip))
    return made


def frames() -> list[bytes]:
    tagged = bytes(12) + b"\x81\0\0\7"
    return [
        (tagged if n % 2 else bytes(12)) + (b"\x08\0" if data[0] >> 4 == 4 else b"\x86\xdd") + data
        for n, data in enumerate(packets())
    ]


def capture(pool: Pool, path: Path, made: list[bytes], link: int = 1, snaplen: int = 2000) -> None:
    with CaptureWriter(path, link, snaplen) as writer:
        writer.push([pool.frombytes(data) for data in made])


def read(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return [data for _, data in dpkt.pcapng.Reader(file)]


def check(ip: Any, before: Any) -> None:
    """Check that exactly the addresses and ports were changed, and that dpkt computes the same checksums."""
    swap = {OLD: NEW, OLD6: NEW6}
    assert (ip.src, ip.dst) == (swap.get(before.src, before.src), swap.get(before.dst, before.dst))
    assert (ip.data.sport, ip.data.dport) == tuple(
        8080 if port == 80 else port for port in (before.data.sport, before.data.dport)
    )
    assert ip.data.data == before.data.data
    found = ip.data.sum, getattr(ip, "sum", None)
    ip.data.sum = 0
    if hasattr(ip, "sum"):
        ip.sum = 0
    again = type(ip)(bytes(ip))
    assert (again.data.sum, getattr(again, "sum", None)) == found


@pytest.mark.parametrize("link", [1, 101])
def test_addresses_ports_and_checksums_are_rewritten(pool: Pool, tmp_path: Path, link: int) -> None:
    made = frames() if link == 1 else packets()
    capture(pool, tmp_path / "in", made, link)
    done = run(tmp_path / "in", tmp_path / "out", *RULES)
    assert (done.stdout, done.stderr) == (f"{len(made)} changed, 0 unchanged, 0 cut\n", "")
    written = read(tmp_path / "out")
    assert len(written) == len(made)
    for data, before in zip(written, made, strict=True):
        if link == 1:
            new, old = dpkt.ethernet.Ethernet(data), dpkt.ethernet.Ethernet(before)
            assert data[:14] == before[:14]
            check(new.data, old.data)
        elif data[0] >> 4 == 4:
            check(dpkt.ip.IP(data), dpkt.ip.IP(before))
        else:
            check(dpkt.ip6.IP6(data), dpkt.ip6.IP6(before))


def test_what_has_no_address_or_port_is_left_and_cut_packets_are_counted(pool: Pool, tmp_path: Path) -> None:
    arp = bytes(12) + b"\x08\x06" + bytes(28)
    fragment = bytearray(bytes(14) + bytes(dpkt.ip.IP(src=OTHER, dst=OTHER, p=6, data=b"\0\x50" * 20)))
    fragment[12:14] = b"\x08\0"
    struct.pack_into("!H", fragment, 20, 5)
    capture(pool, tmp_path / "in", [arp, bytes(fragment), frames()[0][:20], frames()[0]])
    done = run(tmp_path / "in", tmp_path / "out", *RULES)
    assert (done.stdout, done.stderr) == ("1 changed, 2 unchanged, 1 cut\n", "")
    assert read(tmp_path / "out")[:3] == [arp, bytes(fragment), frames()[0][:20]]


def test_checksums_stay_right_in_packets_that_the_capture_has_cut(pool: Pool, tmp_path: Path) -> None:
    made = packets()[-6]
    capture(pool, tmp_path / "in", [made], 101, 44)
    assert run(tmp_path / "in", tmp_path / "out", *RULES).stdout == "1 changed, 0 unchanged, 0 cut\n"
    (data,) = read(tmp_path / "out")
    check(dpkt.ip.IP(data + made[44:]), dpkt.ip.IP(made))


def test_the_captures_of_the_repository_are_rewritten_and_back(tmp_path: Path) -> None:
    for name in ("multi.pcap", "quic2.pcap"):
        source = ROOT / "captures" / name
        with source.open("rb") as file:
            before = [data for _, data in dpkt.pcap.Reader(file)]
        there = run(source, tmp_path / "there", ":443=:4433")
        back = run(tmp_path / "there", tmp_path / "back", ":4433=:443")
        assert there.stdout == back.stdout != ""
        assert read(tmp_path / "back") == before


@pytest.mark.parametrize(
    ("rule", "what"), [("192.0.2.1=::1", "same kind"), ("x=y", "ValueError"), (":80=192.0.2.1", "same kind")]
)
def test_a_wrong_rule_is_an_error(tmp_path: Path, rule: str, what: str) -> None:
    done = run(ROOT / "captures/multi.pcap", tmp_path / "out", rule)
    assert done.returncode
    assert what in done.stderr
