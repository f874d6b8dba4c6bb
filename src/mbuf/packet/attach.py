"""Storage for an mbuf: a raw cluster, or memory of the program, is attached to it or detached from it.

The mbuf that gets storage has none yet. The data in it is lost, and nothing is copied. This module never allocates an
mbuf, and changes no link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import EXT_EXTREF, EXT_NET_DRV, EXT_RXRING, M_COPYFLAGS, M_EXT, M_NOFREE, M_PKTHDR, M_RDONLY
from mbuf.errors import Inval
from mbuf.packet.chain import Chain
from mbuf.packet.cluster import Cluster
from mbuf.packet.ext import Storage
from mbuf.packet.external import External, RefCount
from mbuf.packet.segment import LIVE
from mbuf.vm.buffer_export import export_buffer
from mbuf.vm.ints import INT_MAX

if not cython.compiled:
    from mbuf.packet.chain import attach
    from mbuf.packet.external import external, freeable
    from mbuf.packet.segment import check_alive, check_mutable, start
    from mbuf.vm.commit import check_latch, enter_commit, leave_commit, run_releases


def take_cluster(m: Chain, cluster: Cluster) -> None:
    """Make a raw cluster the storage of an mbuf. See m_cljset."""
    check_mutable(m)
    if m.bits & M_EXT:
        raise Inval("cljset: this mbuf has external storage already")
    cluster.before_export()
    enter_commit()
    storage: Storage = cluster.take()
    storage.init_cluster()
    attach(m, storage)
    leave_commit()
    probes = m.item.zone.probes
    if probes.on:
        probes.fire("m-cljset", m, cluster, storage.type)


def detach(m: Chain) -> Any:
    """End the use of memory of the program; return its object."""
    check_alive(m)
    if not m.bits & M_EXT or not isinstance(m.buf, External):
        raise Inval("detach: this mbuf has no memory from extadd or wrap: see m.ext")
    storage: External = cython.cast(External, m.buf)
    storage.check_detach(m.item)
    obj = storage.obj
    enter_commit()
    m.bits &= ~(M_EXT | M_RDONLY)
    m.buf = m.item
    m.off = start(m)
    if m.bits & M_PKTHDR:
        m.hdr.len = max(m.hdr.len - m.count, 0)
    m.count = 0
    storage.detach(m.item)
    leave_commit()
    run_releases()
    return obj


def attach_buffer(
    m: Chain,
    buffer: Any,
    kind: int,
    refs: RefCount | None,
    bits: int,
    free: Any,
    arg1: Any,
    arg2: Any,
    call: Any,
) -> None:
    """Make the memory of a buffer the storage of an mbuf. See m_extadd.

    `call` is what calls the free routine; None if there is none.
    """
    check_latch()
    if kind != EXT_NET_DRV or bits or m.alive != LIVE or m.bits & (M_EXT | M_NOFREE):
        _check_attach(m, kind, bits)
    if kind == EXT_EXTREF and refs is None:
        refs = RefCount()
    memory = export_buffer(buffer)
    storage: External = external(memory, kind, refs)
    if free is not None or arg1 is not None or arg2 is not None:
        storage.set_free_cb(free, arg1, arg2, call)
    # The export of the buffer may have run user code.
    if m.alive != LIVE or m.bits & M_EXT:
        _check_attach(m, kind, bits)
    storage.check_refs()
    if not m.count <= memory.size <= INT_MAX:
        raise Inval(f"extadd: memory of {memory.size} bytes: give {m.count} (the len of this mbuf) to {INT_MAX}")
    enter_commit()
    storage.attached()
    attach(m, storage)
    m.bits |= bits
    leave_commit()


def _check_attach(m: Chain, kind: int, bits: int) -> None:
    """Raise `Inval` if that type of memory can't be attached to the mbuf."""
    check_mutable(m)
    if m.bits & M_EXT:
        raise Inval("extadd: this mbuf has external storage already")
    if not freeable(kind):
        raise Inval(f"extadd: type {kind}: give EXT_NET_DRV, or another type that extadd takes")
    if m.bits & M_NOFREE and kind != EXT_RXRING and kind != EXT_EXTREF:
        raise Inval("extadd: an mbuf with M_NOFREE takes EXT_RXRING or EXT_EXTREF")
    if bits & M_PKTHDR or bits | M_COPYFLAGS != M_COPYFLAGS:
        raise Inval(f"extadd: flags {bits:#x}: give M_RDONLY or others of M_COPYFLAGS, without M_PKTHDR")
