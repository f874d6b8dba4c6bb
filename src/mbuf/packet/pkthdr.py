"""What a packet carries about itself, beside its bytes.

Fields only, with the kernel's names and widths; knows nothing of the mbuf that it belongs to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from types import MappingProxyType
from typing import Any

from mbuf.errors import Inval

if cython.compiled:
    from cython.cimports.cpython.object import PyObject_GenericSetAttr

#: Bits of each number; a `len` is a signed 32-bit number in the kernel, and never negative here.
_BITS = MappingProxyType(
    {
        "len": 31,
        "flowid": 32,
        "csum_flags": 32,
        "fibnum": 16,
        "numa_domain": 8,
        "rsstype": 8,
        "rcv_tstmp": 64,
        "PH_per": 64,
        "PH_loc": 64,
    }
)


@cython.no_gc
@cython.cclass
class PktHdr:
    """The packet header of the first mbuf of a packet. See struct pkthdr in mbuf(9).

    `rcvif` is whatever stands for the receiving interface, `len` the bytes of the whole packet,
    `rcv_tstmp` nanoseconds, `PH_per` and `PH_loc` scratch space of 64 bits each.
    """

    __slots__ = (
        "PH_loc",
        "PH_per",
        "csum_flags",
        "fibnum",
        "flowid",
        "len",
        "numa_domain",
        "rcv_tstmp",
        "rcvif",
        "rsstype",
    )

    rcvif: Any

    def __setattr__(self, name: str, value: Any) -> None:
        bits = _BITS.get(name)
        if bits is not None and not (isinstance(value, int) and 0 <= value < 1 << bits):
            raise Inval(f"pkthdr.{name} = {value!r}: give a number from 0 to 2**{bits} - 1")
        if cython.compiled:
            PyObject_GenericSetAttr(self, name, value)
        else:
            object.__setattr__(self, name, value)

    def reset(self) -> None:
        """As in a new packet: nothing known, no bytes. See m_pkthdr_init."""
        if self.rcvif is not None:
            self.rcvif = None
        self.len = 0
        self.flowid = 0
        self.csum_flags = 0
        self.fibnum = 0
        self.numa_domain = 0
        self.rsstype = 0
        self.rcv_tstmp = 0
        self.PH_per = 0
        self.PH_loc = 0

    def copy(self, other: PktHdr) -> None:
        """Take all fields over. See m_dup_pkthdr."""
        self.rcvif = other.rcvif
        self.len = other.len
        self.flowid = other.flowid
        self.csum_flags = other.csum_flags
        self.fibnum = other.fibnum
        self.numa_domain = other.numa_domain
        self.rsstype = other.rsstype
        self.rcv_tstmp = other.rcv_tstmp
        self.PH_per = other.PH_per
        self.PH_loc = other.PH_loc
