"""The packet header: fields of a packet beside its bytes, with the kernel's names and widths.

A send tag and the receive interface use the same field. The header owns one reference to the send tag.

Peer and control are beside them. Freeing an mbuf looks at two fields only, to be fast: so a header that has one of
these, but neither interface nor send tag, has `_NO_RCVIF` in place of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mbuf.shadow import cython
elif False:  # for the compiler: a type checker needs decorators with types
    import cython
else:
    from mbuf.shadow import cython

from types import MappingProxyType
from typing import Any

from mbuf.const import CSUM_SND_TAG
from mbuf.errors import Freed, Inval
from mbuf.packet.control import Control
from mbuf.packet.peer import Peer
from mbuf.packet.sndtag import SndTag
from mbuf.packet.tag import TagList
from mbuf.vm.commit import Releasable

if cython.compiled:
    from cython.cimports.cpython.object import PyObject_GenericSetAttr
else:
    from mbuf.vm.commit import release_later, run_releases_unraisable

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

#: In place of an interface: there is none, but a peer or a control.
_NO_RCVIF = object()


@cython.no_gc
@cython.cclass
class PktHdr(Releasable):
    """The packet header of the first mbuf of a packet. Get it from `m.pkthdr`; it isn't a copy. See mbuf(9).

    The numbers have the kernel's widths, and no sign; one out of range raises `Inval`. When the mbuf is freed, tags are
    freed, and the reference to a send tag is released.
    """

    #: `rcvif_or_tag` is the send tag if `csum_flags` has CSUM_SND_TAG, else the receive interface or `_NO_RCVIF`.
    #: `removed` is true if the header was taken off an mbuf that lives on.
    __slots__ = (
        "PH_loc",
        "PH_per",
        "control",
        "csum_flags",
        "fibnum",
        "flowid",
        "len",
        "numa_domain",
        "peer",
        "rcvif_or_tag",
        "rcv_tstmp",
        "rsstype",
        "tags",
        "removed",
    )

    #: Bytes of the whole packet, in all mbufs of the chain (31 bits).
    len: int
    #: The hash of the packet's flow, from the network card (32 bits).
    flowid: int
    #: The type of that hash: an M_HASHTYPE_ number of the kernel (8 bits).
    rsstype: int
    #: CSUM_ flags: which checksums were checked, or are to be computed (32 bits).
    csum_flags: int
    #: The routing table to use (16 bits).
    fibnum: int
    #: The NUMA domain in which the packet came (8 bits).
    numa_domain: int
    #: When the packet came, in nanoseconds, if it has M_TSTMP (64 bits).
    rcv_tstmp: int
    #: Scratch space that goes from one protocol layer to the next (64 bits).
    PH_per: int
    #: Scratch space of one protocol layer (64 bits).
    PH_loc: int

    control: Control | None
    peer: Peer | None
    rcvif_or_tag: Any
    tags: TagList | None
    removed: bool

    def __setattr__(self, name: str, value: Any) -> None:
        # Fast path for `rcvif`, which is set most often.
        bits = None if name == "rcvif" else _BITS.get(name)
        if bits is not None:
            # A plain int: a subclass may redefine comparison and conversion.
            number = int.__index__(value) if isinstance(value, int) else -1
            if not 0 <= number < 1 << bits:
                raise Inval(f"pkthdr.{name} = {value!r}: give a number from 0 to 2**{bits} - 1")
            value = number
            if name == "csum_flags" and (number ^ self.csum_flags) & CSUM_SND_TAG:
                raise Inval(
                    "pkthdr.csum_flags: CSUM_SND_TAG can't be set or cleared here: set snd_tag to a tag or None"
                )
        if cython.compiled:
            PyObject_GenericSetAttr(self, name, value)
        else:
            object.__setattr__(self, name, value)

    @property
    def rcvif(self) -> Any:
        """The receive interface, any object; None if there is a send tag. Set: `Inval` if there is one. See m_rcvif."""
        return None if self.csum_flags & CSUM_SND_TAG or self.rcvif_or_tag is _NO_RCVIF else self.rcvif_or_tag

    @rcvif.setter
    def rcvif(self, interface: Any) -> None:
        if self.csum_flags & CSUM_SND_TAG:
            raise Inval("pkthdr.rcvif: there is a send tag, which uses the same field: set snd_tag to None first")
        self.set_rcvif_or_tag(interface, 0)

    @property
    def snd_tag(self) -> SndTag | None:
        """The send tag, or None.

        Set to a tag, the header owns a reference that belonged to the caller, and `rcvif` is None. The reference to the
        previous tag is released. Raises `Inval` for another object, `Freed` for a tag without references. See
        CSUM_SND_TAG in mbuf(9).
        """
        return self.rcvif_or_tag if self.csum_flags & CSUM_SND_TAG else None

    @snd_tag.setter
    def snd_tag(self, tag: SndTag | None) -> None:
        if tag is not None and not isinstance(tag, SndTag):
            raise Inval(f"pkthdr.snd_tag: give a SndTag or None, not a {type(tag).__name__}")
        if tag is not None and tag.refs <= 0:
            raise Freed("pkthdr.snd_tag: the last reference to this send tag was released")
        before = self.snd_tag
        if tag is None:
            if before is not None:
                self.set_rcvif_or_tag(None, 0)
        else:
            self.set_rcvif_or_tag(tag, CSUM_SND_TAG)
        if before is not None:
            before.rele()

    @property
    def ether_vtag(self) -> int:
        """The VLAN tag of a frame with M_VLANTAG: the lowest 16 bits of `PH_per`. See ether_vtag in mbuf(9)."""
        return self.PH_per & 0xFFFF

    @ether_vtag.setter
    def ether_vtag(self, tag: int) -> None:
        number = int.__index__(tag) if isinstance(tag, int) else -1
        if not 0 <= number <= 0xFFFF:
            raise Inval(f"pkthdr.ether_vtag = {tag!r}: give a number from 0 to 2**16 - 1")
        self.PH_per = self.PH_per & ~0xFFFF | number

    @property
    def tso_segsz(self) -> int:
        """Bytes of payload of each segment that a packet is to be cut into: a part of `PH_per`. See mbuf(9)."""
        return self.PH_per >> 16 & 0xFFFF

    @tso_segsz.setter
    def tso_segsz(self, size: int) -> None:
        number = int.__index__(size) if isinstance(size, int) else -1
        if not 0 <= number <= 0xFFFF:
            raise Inval(f"pkthdr.tso_segsz = {size!r}: give a number from 0 to 2**16 - 1")
        self.PH_per = self.PH_per & ~0xFFFF0000 | number << 16

    def set_rcvif_or_tag(self, thing: Any, flag: int) -> None:
        """Set the receive interface, or with `flag` CSUM_SND_TAG the send tag."""
        bits = (self.csum_flags & ~CSUM_SND_TAG) | flag
        # Keeps the old object until the change is complete.
        before = self.rcvif_or_tag
        if thing is None and (self.peer is not None or self.control is not None):
            thing = _NO_RCVIF
        if cython.compiled:
            self.rcvif_or_tag = thing
            self.csum_flags = bits
        else:
            object.__setattr__(self, "rcvif_or_tag", thing)
            object.__setattr__(self, "csum_flags", bits)
        del before

    def set_peer(self, peer: Peer | None, control: Control | None) -> None:
        """Set peer and control, or None."""
        if cython.compiled:
            self.peer = peer
            self.control = control
        else:
            object.__setattr__(self, "peer", peer)
            object.__setattr__(self, "control", control)
        if self.rcvif_or_tag is None or self.rcvif_or_tag is _NO_RCVIF:
            self.set_rcvif_or_tag(None, 0)

    def drop_peer(self) -> bool:
        """In a commit: drop peer and control if there is nothing else to release; true if so. They run no user code."""
        if self.rcvif_or_tag is not _NO_RCVIF or self.tags is not None:
            return False
        self.set_peer(cython.cast(Peer, None), cython.cast(Control, None))
        return True

    def on_release(self) -> int:
        """Release the send tag, and free the tags. See m_demote_pkthdr.

        The header isn't part of an mbuf any more, but the program may refer to it. If its mbuf was freed, it keeps
        `rcvif` and its peer; if it was removed from a live mbuf, it becomes empty.
        """
        tags, self.tags = self.tags, None
        tag = self.rcvif_or_tag if self.csum_flags & CSUM_SND_TAG else None
        if tag is not None:
            self.set_rcvif_or_tag(None, 0)
        try:
            if tag is not None:
                tag.rele()
        finally:
            try:
                if tags is not None:
                    tags.release()
            finally:
                if self.removed:
                    self.removed = False
                    self.set_rcvif_or_tag(None, 0)
                    self.set_peer(cython.cast(Peer, None), cython.cast(Control, None))
                    reset_header(self)
        return 0

    def __del__(self) -> None:
        # A header without an mbuf in which the program has set a send tag.
        if self.csum_flags & CSUM_SND_TAG:
            release_later(self)
            run_releases_unraisable()


if not cython.compiled:
    _new = Releasable.__new__

    def has_references(hdr: PktHdr) -> bool:
        """True if it refers to tags, a send tag, an interface or a peer, which are released when its mbuf is freed."""
        return hdr.rcvif_or_tag is not None or hdr.tags is not None

    def has_tags(hdr: PktHdr) -> bool:
        """True if it refers to tags or a send tag, of which a copy of the header needs copies."""
        return bool(hdr.csum_flags & CSUM_SND_TAG or hdr.tags is not None)

    def add_len(hdr: PktHdr, count: int) -> None:
        """Add `count`, which may be negative, to `len`. The sum is negative if `len` was set too low."""
        object.__setattr__(hdr, "len", hdr.len + count)

    def reset_header(hdr: PktHdr) -> None:
        """Set all numbers to 0; the header must have no tags and no interface. See m_pkthdr_init."""
        for name in _BITS:
            object.__setattr__(hdr, name, 0)

    def copy_header(hdr: PktHdr, other: PktHdr) -> None:
        """Copy all fields but the tags to an empty header; the caller has taken the reference to a send tag."""
        object.__setattr__(hdr, "rcvif_or_tag", other.rcvif_or_tag)
        object.__setattr__(hdr, "peer", other.peer)
        object.__setattr__(hdr, "control", other.control)
        for name in _BITS:
            # Without a check: len may be negative.
            object.__setattr__(hdr, name, getattr(other, name))

    def _blank(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, a header is empty before `reset`, as compiled."""
        hdr = _new(cls)
        for name in PktHdr.__slots__:
            object.__setattr__(hdr, name, None if name in ("control", "peer", "rcvif_or_tag", "tags") else 0)
        return hdr

    type.__setattr__(PktHdr, "__new__", _blank)
