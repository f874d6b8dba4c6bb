"""Rewrites addresses and ports in a capture, pcap or pcapng, and writes pcapng. All checksums stay right.

$ python examples/rewrite_capture.py in.pcap out.pcapng 192.0.2.1=198.51.100.7 2001:db8::1=2001:db8::2 :80=:8080
"""

import ipaddress
import sys

from mbuf import Inval, Pool
from mbuf.net import CapturePort, CaptureWriter

ETHERNET, RAW_IP, UDP = 1, 101, 17
CHECKSUMS = {6: 16, UDP: 6}  # by protocol: where the checksum is in the header of TCP and UDP


def parse(words):
    names = {}
    for word in words:
        old, new = map(packed, word.split("="))
        names[old] = new if len(old) == len(new) else sys.exit(f"{word}: give two addresses of the same kind, or ports")
    return names


def packed(text):
    return int(text[1:]).to_bytes(2, "big") if text.count(":") == 1 else ipaddress.ip_address(text).packed


def replace(m, at, size, names, checksums):
    """Replace the bytes at an offset if they are among the names, and correct the checksums: RFC 1624."""
    old = m.copydata(at, size)
    if (new := names.get(old, old)) == old:
        return False
    m.copyback(at, new)
    for where, protocol in checksums:
        # A packet may end before its checksum, if the capture has cut it. In UDP, 0 means that there is none.
        if where + 2 <= len(m) and ((before := m.unpack("!H", where)[0]) or protocol != UDP):
            after = (before + int.from_bytes(old, "big") - int.from_bytes(new, "big")) % 0xFFFF
            m.pack("!H", where, after or (0xFFFF if protocol == UDP else 0))
    return True


def rewrite(m, link, names):
    """Rewrite the addresses and ports of a packet; whether one was changed. `Inval` if it ends before them."""
    at = 14 if link == ETHERNET else 0
    while at and (kind := m.unpack("!H", at - 2)[0]) in (0x8100, 0x88A8):  # VLAN tags
        at += 4
    if at and kind not in (0x0800, 0x86DD):
        return False
    version, header = divmod(m.unpack("!B", at)[0], 16)
    if version == 6:
        protocol, l4, size, where, checksums = m.unpack("!B", at + 6)[0], at + 40, 16, at + 8, []
    else:
        protocol, l4, size, where, checksums = m.unpack("!B", at + 9)[0], at + 4 * header, 4, at + 12, [(at + 10, 0)]
    later = version != 6 and m.unpack("!H", at + 6)[0] & 0x1FFF  # a fragment without the header of TCP or UDP
    inner = [(l4 + CHECKSUMS[protocol], protocol)] if protocol in CHECKSUMS and not later else []
    changed = [replace(m, where + n * size, size, names, checksums + inner) for n in (0, 1)]
    return any(changed + [replace(m, l4 + 2 * n, 2, names, inner) for n in (0, 1) if inner])


def main(source, target, *words):
    names, counts = parse(words), {"changed": 0, "unchanged": 0, "cut": 0}
    with Pool(16 << 20) as pool, CapturePort(pool, source) as port:
        if (link := port.capture.linktype) not in (ETHERNET, RAW_IP):
            sys.exit(f"{source}: link type {link} is neither Ethernet nor IP")
        with CaptureWriter(target, link, pcapng=True) as writer:
            while not port.ended:
                packets = port.pull(256)
                for m in packets:
                    try:
                        counts["changed" if rewrite(m, link, names) else "unchanged"] += 1
                    except Inval:
                        counts["cut"] += 1
                writer.push(packets)
    print(*(f"{count} {name}" for name, count in counts.items()), sep=", ")


if __name__ == "__main__":
    main(*sys.argv[1:])
