"""A network interface of one's own as a port: TUN, whose packets are IP, or TAP, whose packets are Ethernet frames.

What the system sends to the interface is pulled here, read straight into clusters; what is pushed here is received
by the system, written straight from mbufs. Each packet is one call, so that the batch is the caller's alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mbuf.const import M_NOTREADY, M_NOWAIT, MCLBYTES, MT_DATA
from mbuf.errors import Busy, Inval, NoBufs, NoMemory
from mbuf.net.link.interface import checked, mtu
from mbuf.net.linux import IFF_NO_PI, IFF_TAP, IFF_TUN, IFNAMSIZ, TUNSETIFF
from mbuf.net.port.port import Port, PortStat
from mbuf.packet.build import from_rx
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.sndtag import Interface
from mbuf.vm.ints import clip

if TYPE_CHECKING:
    from mbuf.pool.pool import Pool

DEVICE = "/dev/net/tun"

#: What Ethernet adds to the longest packet: a header, and a VLAN tag.
LINK = 18

#: Errors that say to try again later, and those after which nothing comes or goes any more.
LATER = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM})
HARD = frozenset({errno.EBADF, errno.EBADFD, errno.EFAULT})

#: How the system says that it has no such device, or no driver for it.
ABSENT = frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO})

_IOV_MAX = os.sysconf("SC_IOV_MAX")


class TunPort(Port):
    """Packets to and from an interface that the port makes, or attaches itself to if there is one of that name.

    IP packets; with `tap` Ethernet frames, without their checksums. The name may have one `%d`, for the first number
    that is free, as in "mbuf%d"; without a name, the system finds one. The interface is `port.interface`, and the
    `m.pkthdr.rcvif` of all packets; it goes with the port, unless it was there before. To set it up and give it
    addresses is the caller's.

    There is room for packets of the interface's MTU, as it was when the port was made. One that is longer is thrown
    away and counted (`truncated`), and the room grows. An interface that is down refuses what is pushed (`errors`);
    one that was deleted raises `OSError`.

    Raises `OSError`, of its kind, where there is no /dev/net/tun, no privilege (root, or CAP_NET_ADMIN), or
    where somebody else has the interface. One thread may pull while another pushes.
    """

    features = MappingProxyType({"receive": "readv", "send": "writev"})

    def __init__(self, pool: Pool, name: str = "", tap: bool = False) -> None:
        wanted = checked(name)
        self._pool = pool
        #: Packets that came and weren't given, for an error that came after them.
        self._ready: list[Mbuf] = []
        #: Clusters for the next packet, and views of them; None where there are none.
        self._armed: list[Any] = []
        self._views: list[Any] = []
        self.room = 0
        self._pulling = self._pushing = False
        self._packets_in = self._bytes_in = self._calls_in = 0
        self._packets_out = self._bytes_out = self._calls_out = 0
        self._short = self._truncated = self._errors = self._faults = 0
        self._fd = _open()
        try:
            made = _attach(self._fd, wanted, tap)
            self.interface = Interface(os.fsdecode(made))
            self._widen(mtu(made) + LINK)
        except BaseException:
            os.close(self._fd)
            raise

    def pull(self, n: int) -> list[Mbuf]:
        most = clip(n)
        if most < 0:
            raise Inval(f"pull: {n} packets: give 0 or more")
        if self._fd < 0:
            raise Inval("pull: this port is closed")
        if self._pulling:
            raise Busy("pull: another thread is pulling from this port at this moment")
        if not self._ready:
            self._pulling = True
            try:
                self._receive(most)
            finally:
                self._pulling = False
        taken = self._ready[:most]
        del self._ready[:most]
        return taken

    def push(self, packets: list[Mbuf]) -> int:
        if not isinstance(packets, list):
            raise TypeError("push: give a list, out of which the packets are taken that went")
        if self._fd < 0:
            raise Inval("push: this port is closed")
        if self._pushing:
            raise Busy("push: another thread is pushing to this port at this moment")
        self._pushing = True
        done = 0
        try:
            while done < len(packets) and self._write(packets[done]):
                done += 1
        finally:
            self._pushing = False
            gone = packets[:done]
            del packets[:done]
            self._pool.free_bulk(gone)
        return done

    def stat(self) -> PortStat:
        return PortStat(
            packets_in=self._packets_in,
            bytes_in=self._bytes_in,
            packets_out=self._packets_out,
            bytes_out=self._bytes_out,
            short=self._short,
            truncated=self._truncated,
            errors=self._errors,
            faults=self._faults,
            calls_in=self._calls_in,
            calls_out=self._calls_out,
        )

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        """Free what is armed, and what came and wasn't pulled; the interface goes, unless it was there before."""
        if self._pulling or self._pushing:
            raise Busy("close: another thread is using this port at this moment")
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        os.close(fd)
        for view in self._views:
            if view is not None:
                view.release()
        self._views.clear()
        self._ready += [m for m in self._armed if m is not None]
        self._armed.clear()
        self._pool.free_bulk(self._ready)

    # Receiving.

    def _receive(self, most: int) -> None:
        """Add at most so many packets to those that are ready."""
        while len(self._ready) < most and self._arm():
            size = self._read()
            if size < 0:
                return
            if size == self.room:
                # The system doesn't tell a packet that just fits from one that was cut: there is always a byte more.
                self._truncated += 1
                self._widen(2 * self.room)
            else:
                self._take(size)

    def _widen(self, size: int) -> None:
        """Have room for packets of that size, and a byte more."""
        pieces = size // MCLBYTES + 1
        more: list[Any] = [None] * (pieces - len(self._armed))
        self._views += more
        self._armed += more
        self.room = pieces * MCLBYTES

    def _arm(self) -> bool:
        """Have clusters for a packet of any size; false if the pool has none."""
        try:
            for i, m in enumerate(self._armed):
                if m is None:
                    fresh = self._pool.getcl(M_NOWAIT, MT_DATA, 0)
                    fresh.len = MCLBYTES
                    self._views[i] = fresh.data
                    self._armed[i] = fresh
        except (NoBufs, NoMemory):
            self._short += 1
            return False
        return True

    def _read(self) -> int:
        """Read a packet into what is armed; its bytes, or -1 if none is there."""
        self._calls_in += 1
        try:
            return os.readv(self._fd, self._views)
        except BlockingIOError:
            return -1
        except OSError as error:
            if error.errno in HARD:
                raise self._gone(error) from None
            self._faults += 1
            return -1

    def _take(self, size: int) -> None:
        """Make a packet of what was read."""
        count = max(-(-size // MCLBYTES), 1)
        for view in self._views[:count]:
            view.release()
        written = self._armed[count - 1 :: -1]
        self._armed[:count] = [None] * count
        m = from_rx(written, size)
        m.pkthdr.rcvif = self.interface
        self._packets_in += 1
        self._bytes_in += size
        self._ready.append(m)

    # Sending.

    def _write(self, m: Mbuf) -> bool:
        """Write a packet; false if it can't go now."""
        views = _views(m)
        if len(views) > _IOV_MAX:
            # More pieces than a call takes: this one packet is copied.
            views = [memoryview(b"".join(views))]
        self._calls_out += 1
        try:
            size = os.writev(self._fd, views)
        except OSError as error:
            if error.errno in LATER:
                return False
            if error.errno in HARD:
                raise self._gone(error) from None
            size = 0
        finally:
            # Who looks at the traceback mustn't keep the memory.
            views.clear()
        if size:
            self._packets_out += 1
            self._bytes_out += size
        else:
            # Also what has no bytes, which the system doesn't even look at.
            self._errors += 1
        return True

    def _gone(self, error: OSError) -> OSError:
        return OSError(error.errno, f"{self.interface.name}: the interface is gone: close this port")


def _views(m: Any) -> list[memoryview]:
    """Views of the bytes of what is to be sent, if it is an mbuf that is live."""
    if not isinstance(m, Mbuf):
        raise Inval(f"push: a list of packets is wanted, but there is a {type(m).__name__} in it")
    n: Mbuf | None = m
    while n is not None:
        if n.flags & M_NOTREADY:
            raise Inval("push: a packet has bytes that aren't ready: they are still to be encrypted, or read")
        n = n.next
    return list(m)


def _open() -> int:
    """The device, which is no interface yet."""
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        what = "be root, or be given it for reading and writing"
        raise OSError(error.errno, f"{DEVICE} may not be opened: {what}") from None
    except OSError as error:
        if error.errno not in ABSENT:
            raise
        what = "load the kernel's module (modprobe tun), or give the container that device"
        raise OSError(error.errno, f"{DEVICE} isn't there: {what}") from None


def _attach(fd: int, name: bytes, tap: bool) -> bytes:
    """Make the device an interface; its name."""
    kind = "TAP" if tap else "TUN"
    called = f"interface {os.fsdecode(name)!r}"
    try:
        told = fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name, (IFF_TAP if tap else IFF_TUN) | IFF_NO_PI))
    except OSError as error:
        why = {
            errno.EPERM: "it may not be made or used: be root, or have CAP_NET_ADMIN",
            errno.EBUSY: "somebody else has it",
            errno.EINVAL: f"that is no name, or an interface that is no {kind}: give another, or none",
        }
        raise OSError(error.errno, f"{called}: {why.get(error.errno or 0, os.strerror(error.errno or 0))}") from None
    return bytes(told[:IFNAMSIZ].partition(b"\0")[0])
