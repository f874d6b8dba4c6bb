"""A network interface of the program's own as a port: TUN with IP packets, or TAP with Ethernet frames.

The port pulls what the system sends to the interface, read straight into clusters; the system receives what the port
pushes, written straight from mbufs. There is one readv(2) or writev(2) for each packet: the device has no batches.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mbuf.const import M_NOWAIT, MCLBYTES, MT_DATA
from mbuf.errors import NoBufs, NoMemory
from mbuf.net.link.interface import encode_name, mtu
from mbuf.net.link.offload import HEADER_LEN, apply_vnet_header, check_complete, vnet_header
from mbuf.net.link.vlan import frame_views
from mbuf.net.linux import (
    DATAGRAM_MAX,
    FATAL,
    IFF_NO_PI,
    IFF_TAP,
    IFF_TUN,
    IFF_VNET_HDR,
    IFNAMSIZ,
    IOV_MAX,
    RETRY,
    TUN_F_CSUM,
    TUN_F_TSO,
    TUN_F_USO,
    TUNSETIFF,
    TUNSETOFFLOAD,
    TUNSETVNETHDRSZ,
    TUNSETVNETLE,
)
from mbuf.net.port.base import BasePort
from mbuf.net.port.rules import check_ready, check_untagged, free_sent
from mbuf.net.sockets import check_pool
from mbuf.packet.build import from_rx
from mbuf.packet.sndtag import Interface

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

DEVICE = "/dev/net/tun"

#: Bytes of an Ethernet header and a VLAN tag, which the MTU doesn't include.
LINK_HEADER = 18

#: Errors of opening the device where the system has no such device, or no driver for it.
ABSENT = frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO})


class TunPort(BasePort):
    """Packets of an interface that the port creates, or attaches to if there is one of that name.

    The packets are IP packets; with `tap` Ethernet frames, without frame check sequences. `name` may contain one `%d`,
    which becomes the first free number, as in "mbuf%d"; without a name the system chooses one. `port.interface` is the
    interface, and the `m.pkthdr.rcvif` of all packets. An interface that the port has created is deleted when the port
    is closed. The caller gives it addresses and brings it up.

    There is room for packets of the interface's MTU at the time the port is made; `port.room` is its bytes. A longer
    packet is discarded and counted (`truncated`), and the room is doubled. An interface that is down refuses what is
    pushed (`errors`). No bytes are copied, but those of a packet of more than IOV_MAX pieces. A frame that is
    M_VLANTAG, from a `PacketPort`, is sent with its VLAN tag; without `tap`, `push` raises `Inval` for it.

    With `vnet_hdr`, the system leaves checksums and segmentation to the port, and takes them over: `pull` returns
    packets of up to 64 KiB, whose `pkthdr.csum_flags` and `pkthdr.tso_segsz` say what is still to be done, and `push`
    passes that on; see `complete` for other ports. Without it, every packet has its checksums and fits the MTU, also if
    an earlier program has used the interface differently. `port.features["offload"]` is what the system accepts.

    Raises `Inval` for what can't be a name; OSError without /dev/net/tun, without the privilege (root, or
    CAP_NET_ADMIN), if another program has the interface, and from `pull` and `push` once the interface is deleted. One
    thread may pull while another pushes.
    """

    def __init__(self, pool: Pool, name: str = "", tap: bool = False, vnet_hdr: bool = False) -> None:
        check_pool("TunPort", pool)
        super().__init__()
        encoded = encode_name(name)
        self._pool = pool
        self._tap = tap
        # The virtio header of the packet that is read, with `vnet_hdr`.
        self._header = bytearray(HEADER_LEN if vnet_hdr else 0)
        #: Packets that were read and not returned, because of an error after them.
        self._ready: list[Mbuf] = []
        #: Clusters that are posted for the next packet, and views of them; None where there are none.
        self._posted: list[Any] = []
        self._views: list[Any] = []
        #: Bytes of the longest packet that is received whole.
        self.room = 0
        self._fd = _open()
        try:
            attached = _attach(self._fd, encoded, tap, vnet_hdr)
            offload = _set_offload(self._fd, vnet_hdr)
            self.features = MappingProxyType({"receive": "readv", "send": "writev", "offload": offload})
            #: The interface.
            self.interface = Interface(os.fsdecode(attached))
            self._set_room((DATAGRAM_MAX if vnet_hdr else mtu(attached)) + LINK_HEADER)
        except BaseException:
            os.close(self._fd)
            raise

    def pull(self, n: int) -> list[Mbuf]:
        count = self._begin_pull(n)
        with self._pull_lock:
            if not self._ready:
                self._receive(count)
            packets = self._ready[:count]
            del self._ready[:count]
        return packets

    def push(self, packets: list[Mbuf]) -> int:
        offered = self._begin_push(packets)
        done = 0
        with self._push_lock:
            try:
                for m in offered:
                    if not self._write(m):
                        break
                    done += 1
            finally:
                free_sent(packets, done)
        return done

    def fileno(self) -> int:
        return self._fd

    @property
    def ready(self) -> int:
        return len(self._ready)

    def close(self) -> None:
        """Free what is posted, and the packets that were not pulled; an interface that the port created is deleted.

        Raises `Busy` if another thread is pulling or pushing. Calling it again has no effect.
        """
        if not self._set_closed():
            return
        fd, self._fd = self._fd, -1
        for view in self._views:
            # In the child of a fork, a thread that doesn't exist there may still have a view of the view.
            with suppress(BufferError):
                if view is not None:
                    view.release()
        self._views.clear()
        left = len(self._ready)
        self._count(packets_in=-left, bytes_in=-sum(map(len, self._ready)), discarded=left)
        self._ready += [m for m in self._posted if m is not None]
        self._posted.clear()
        self._pool.free_bulk(self._ready)
        # Last, because it raises an error if the program has closed the descriptor itself.
        os.close(fd)

    # Receiving.

    def _receive(self, count: int) -> None:
        """Read packets until `count` are ready, or no more can be read."""
        while len(self._ready) < count and self._post():
            size = self._read()
            if size < 0:
                return
            if size == self.room:
                # A packet that fits leaves at least a byte of the room: this one was truncated.
                self._counts["truncated"] += 1
                self._set_room(2 * self.room)
            else:
                self._take_packet(size)

    def _set_room(self, size: int) -> None:
        """Have room for packets of `size` bytes, and a byte more."""
        pieces = size // MCLBYTES + 1
        more: list[Any] = [None] * (pieces - len(self._posted))
        self._views += more
        self._posted += more
        self.room = pieces * MCLBYTES

    def _post(self) -> bool:
        """Post clusters for a packet of any size; false if the pool refuses one."""
        try:
            for i, m in enumerate(self._posted):
                if m is None:
                    fresh = self._pool.getcl(M_NOWAIT, MT_DATA, 0)
                    fresh.len = MCLBYTES
                    self._views[i] = fresh.data
                    self._posted[i] = fresh
        except (NoBufs, NoMemory):
            self._counts["short"] += 1
            return False
        return True

    def _read(self) -> int:
        """Read a packet into what is posted; its bytes, or -1 if there is none."""
        self._counts["calls_in"] += 1
        try:
            if not self._header:
                return os.readv(self._fd, self._views)
            return os.readv(self._fd, [self._header, *self._views]) - HEADER_LEN
        except BlockingIOError:
            return -1
        except OSError as error:
            if error.errno in FATAL:
                raise self._deleted(error) from None
            self._counts["faults"] += 1
            return -1

    def _take_packet(self, size: int) -> None:
        """Make a packet of what was read."""
        count = max(-(-size // MCLBYTES), 1)
        for view in self._views[:count]:
            view.release()
        written = self._posted[count - 1 :: -1]
        self._posted[:count] = [None] * count
        m = from_rx(written, size)
        m.pkthdr.rcvif = self.interface
        if self._header:
            apply_vnet_header(m, self._header, self._tap)
        self._counts["packets_in"] += 1
        self._counts["bytes_in"] += size
        self._ready.append(m)

    # Sending.

    def _write(self, m: Mbuf) -> bool:
        """Write a packet; false if it can't be written now."""
        check_ready("push", m)
        if not self._tap:
            check_untagged(m)
        views = frame_views(m)
        if self._header:
            views.insert(0, memoryview(vnet_header(m, self._tap)))
        else:
            check_complete(m)
        if len(views) > IOV_MAX:
            # More pieces than one call accepts: the bytes of this packet are copied.
            views = [memoryview(b"".join(views))]
        self._counts["calls_out"] += 1
        try:
            size = os.writev(self._fd, views) - len(self._header)
        except OSError as error:
            if error.errno in RETRY:
                return False
            if error.errno in FATAL:
                raise self._deleted(error) from None
            size = 0
        finally:
            # A traceback that refers to this frame must not keep the memory.
            views.clear()
        if size > 0:
            self._counts["packets_out"] += 1
            self._counts["bytes_out"] += size
        else:
            # Also a packet without bytes, of which the system takes no notice.
            self._counts["errors"] += 1
        return True

    def _deleted(self, error: OSError) -> OSError:
        return OSError(error.errno, f"{self.interface.name}: the interface was deleted: close this port")


def _open() -> int:
    """Open the device, which isn't attached to an interface yet."""
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        raise OSError(error.errno, f"{DEVICE}: no permission to open it for reading and writing: be root") from None
    except OSError as error:
        if error.errno not in ABSENT:
            raise
        advice = "load the kernel module (modprobe tun), or give the device to the container"
        raise OSError(error.errno, f"{DEVICE}: there is no such device: {advice}") from None


def _attach(fd: int, name: bytes, tap: bool, vnet_hdr: bool) -> bytes:
    """Attach the device to an interface, which is created if there is none of that name; the name of the interface."""
    kind = "TAP" if tap else "TUN"
    interface = f"interface {os.fsdecode(name)!r}"
    flags = (IFF_TAP if tap else IFF_TUN) | IFF_NO_PI | (IFF_VNET_HDR if vnet_hdr else 0)
    try:
        request = fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name, flags))
    except OSError as error:
        reasons = {
            errno.EPERM: "no permission to create or use it: be root, or have CAP_NET_ADMIN",
            errno.EBUSY: "another program is using it",
            errno.EINVAL: f"this is no valid name, or the interface is no {kind}: give another name, or none",
        }
        number = error.errno or 0
        raise OSError(number, f"{interface}: {reasons.get(number, os.strerror(number))}") from None
    return bytes(request[:IFNAMSIZ].partition(b"\0")[0])


def _set_offload(fd: int, vnet_hdr: bool) -> str:
    """Say what the program can do with packets that it receives. A persistent interface keeps it from the last program.

    Returns it as text: "no", "csum tso", or "csum tso uso".
    """
    if not vnet_hdr:
        fcntl.ioctl(fd, TUNSETOFFLOAD, 0)
        return "no"
    fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", HEADER_LEN))
    fcntl.ioctl(fd, TUNSETVNETLE, struct.pack("i", 1))
    with suppress(OSError):
        fcntl.ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO | TUN_F_USO)
        return "csum tso uso"
    fcntl.ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO)
    return "csum tso"
