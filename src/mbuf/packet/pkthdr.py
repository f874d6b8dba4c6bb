"""What a packet carries about itself, beside its bytes.

Fields only, with the kernel's names and widths; knows nothing of the mbuf that it belongs to. A send tag
takes the place of the receive interface, and its reference goes where the header goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from types import MappingProxyType
from typing import Any

from mbuf.const import CSUM_SND_TAG
from mbuf.errors import Freed, Inval
from mbuf.packet.sndtag import SndTag
from mbuf.packet.tag import TagList
from mbuf.vm.commit import Releasable

if cython.compiled:
    from cython.cimports.cpython.object import PyObject_GenericSetAttr
else:
    from mbuf.vm.commit import finish_drop, put

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
class PktHdr(Releasable):
    """The packet header of the first mbuf of a packet. See struct pkthdr in mbuf(9).

    `rcvif` is whatever stands for the receiving interface, `len` the bytes of the whole packet,
    `rcv_tstmp` nanoseconds, `PH_per` and `PH_loc` scratch space of 64 bits each.
    """

    #: `place` is the receive interface or, with CSUM_SND_TAG, the send tag; `taken_off`: its mbuf goes on without it.
    __slots__ = (
        "PH_loc",
        "PH_per",
        "csum_flags",
        "fibnum",
        "flowid",
        "len",
        "numa_domain",
        "place",
        "rcv_tstmp",
        "rsstype",
        "tags",
        "taken_off",
    )

    PH_loc: int
    PH_per: int
    csum_flags: int
    fibnum: int
    flowid: int
    len: int
    numa_domain: int
    place: Any
    rcv_tstmp: int
    rsstype: int
    tags: TagList | None
    taken_off: bool

    def __setattr__(self, name: str, value: Any) -> None:
        # The name that is set most often isn't looked for among the numbers.
        bits = None if name == "rcvif" else _BITS.get(name)
        if bits is not None:
            # A number of its own: a subclass of int may compare and convert as it likes.
            number = int.__index__(value) if isinstance(value, int) else -1
            if not 0 <= number < 1 << bits:
                raise Inval(f"pkthdr.{name} = {value!r}: give a number from 0 to 2**{bits} - 1")
            value = number
            if name == "csum_flags" and (number ^ self.csum_flags) & CSUM_SND_TAG:
                raise Inval("pkthdr.csum_flags: CSUM_SND_TAG follows the send tag: set snd_tag")
        if cython.compiled:
            PyObject_GenericSetAttr(self, name, value)
        else:
            object.__setattr__(self, name, value)

    @property
    def rcvif(self) -> Any:
        """The receive interface; None while a send tag is in its place. See m_rcvif."""
        return None if self.csum_flags & CSUM_SND_TAG else self.place

    @rcvif.setter
    def rcvif(self, interface: Any) -> None:
        if self.csum_flags & CSUM_SND_TAG:
            raise Inval("pkthdr.rcvif: a send tag is in its place: set snd_tag to None first")
        self.hold(interface, 0)

    @property
    def snd_tag(self) -> SndTag | None:
        """The send tag, None if there is none.

        Set it to a tag, or None: the header takes over a reference that is the caller's, and lets go of
        the one that it had. See CSUM_SND_TAG in mbuf(9).
        """
        return self.place if self.csum_flags & CSUM_SND_TAG else None

    @snd_tag.setter
    def snd_tag(self, tag: SndTag | None) -> None:
        if tag is not None and not isinstance(tag, SndTag):
            raise Inval(f"pkthdr.snd_tag: give a SndTag or None, not a {type(tag).__name__}")
        if tag is not None and tag.refs <= 0:
            raise Freed("pkthdr.snd_tag: the last reference to this send tag was let go")
        before = self.snd_tag
        if tag is None:
            if before is not None:
                self.hold(None, 0)
        else:
            self.hold(tag, CSUM_SND_TAG)
        if before is not None:
            before.rele()

    @property
    def ether_vtag(self) -> int:
        """The VLAN tag of a frame with M_VLANTAG: 16 bits, which are the lowest of `PH_per`. See ether_vtag."""
        return self.PH_per & 0xFFFF

    @ether_vtag.setter
    def ether_vtag(self, tag: int) -> None:
        number = int.__index__(tag) if isinstance(tag, int) else -1
        if not 0 <= number <= 0xFFFF:
            raise Inval(f"pkthdr.ether_vtag = {tag!r}: give a number from 0 to 2**16 - 1")
        self.PH_per = self.PH_per & ~0xFFFF | number

    def hold(self, thing: Any, flag: int) -> None:
        """Put a receive interface, or with CSUM_SND_TAG a send tag, into its place."""
        bits = (self.csum_flags & ~CSUM_SND_TAG) | flag
        # What was there goes at the end, when all is as it should be.
        before = self.place
        if cython.compiled:
            self.place = thing
            self.csum_flags = bits
        else:
            object.__setattr__(self, "place", thing)
            object.__setattr__(self, "csum_flags", bits)
        del before

    def let_go(self) -> int:
        """Let go of the send tag, and free the tags. See m_demote_pkthdr.

        The header has left its mbuf. Who still holds it keeps the receive interface of one that was freed, and sees
        that one which was taken off is clean.
        """
        tags, self.tags = self.tags, None
        tag = self.place if self.csum_flags & CSUM_SND_TAG else None
        if tag is not None:
            self.hold(None, 0)
        try:
            if tag is not None:
                tag.rele()
        finally:
            try:
                if tags is not None:
                    tags.release()
            finally:
                if self.taken_off:
                    self.taken_off = False
                    self.hold(None, 0)
                    reset_header(self)
        return 0

    def __del__(self) -> None:
        # One that its mbuf has no longer, into which somebody has put a send tag.
        if self.csum_flags & CSUM_SND_TAG:
            put(self)
            finish_drop()


if not cython.compiled:
    _new = Releasable.__new__

    def is_laden(hdr: PktHdr) -> bool:
        """True when a header holds something that must be let go of when its mbuf is freed."""
        return hdr.place is not None or hdr.tags is not None

    def add_len(hdr: PktHdr, count: int) -> None:
        """Count bytes more, or less if negative, in `len`: below 0 too, where somebody had set it too low."""
        object.__setattr__(hdr, "len", hdr.len + count)

    def reset_header(hdr: PktHdr) -> None:
        """As in a new packet: nothing known, no bytes; of a header that isn't laden. See m_pkthdr_init."""
        for name in _BITS:
            object.__setattr__(hdr, name, 0)

    def copy_header(hdr: PktHdr, other: PktHdr) -> None:
        """Take all fields over but the tags; the reference to a send tag is the caller's to take."""
        object.__setattr__(hdr, "place", other.place)
        for name in _BITS:
            # As they are, a len below 0 too.
            object.__setattr__(hdr, name, getattr(other, name))

    def _blank(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, a new header is clean, as a compiled one is."""
        hdr = _new(cls)
        for name in PktHdr.__slots__:
            object.__setattr__(hdr, name, None if name in ("place", "tags") else 0)
        return hdr

    type.__setattr__(PktHdr, "__new__", _blank)
