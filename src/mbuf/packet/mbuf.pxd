cimport cython
from cpython.object cimport PyObject

from mbuf.packet cimport append as _append
from mbuf.packet cimport attach as _attach
from mbuf.packet cimport copy as _copy
from mbuf.packet cimport defrag as _defrag
from mbuf.packet cimport extpg as _extpg
from mbuf.packet cimport header as _header
from mbuf.packet cimport pullup as _pullup
from mbuf.packet cimport read as _read
from mbuf.packet cimport segmentation as _segmentation
from mbuf.packet cimport splice as _splice
from mbuf.packet cimport trim as _trim
from mbuf.packet.chain cimport (
    Chain,
    check_link,
    check_range,
    cut,
    drop,
    header_shared,
    last_of,
    link,
    own_header,
    pkthdr_of,
    release_chain,
    release_now,
    set_next,
    set_nextpkt,
)
from mbuf.packet.cluster cimport Cluster
from mbuf.packet.control cimport Control
from mbuf.packet.epg cimport Epg
from mbuf.packet.ext cimport Storage
from mbuf.packet.external cimport RefCount
from mbuf.packet.format cimport Format, format_of
from mbuf.packet.peer cimport Peer
from mbuf.packet.pkthdr cimport PktHdr, add_len, reset_header
from mbuf.packet.chain cimport length as _length
from mbuf.packet.segment cimport bound, capacity, check_alive, check_mutable, space, start, storage_of
from mbuf.packet.segment cimport leading as _leading
from mbuf.packet.segment cimport writable as _writable
from mbuf.packet.source cimport check_how, until
from mbuf.packet.tag cimport TagList
from mbuf.packet.unmapped cimport Unmapped
from mbuf.uma.item cimport Item, MbufItem, free_item
from mbuf.vm.commit cimport LATCH, Latch, check_latch, enter_commit, leave_commit, run_releases
from mbuf.vm.buffer_export cimport BufferExport, export_buffer, has_buffer
from mbuf.vm.ints cimport count, integer
from mbuf.vm.page cimport Memory, view_of
from mbuf.vm.probe cimport Probes
from mbuf.vm.references cimport mbuf_identity_hash, mbuf_references

cdef unsigned char DOOMED
cdef unsigned int M_EXT, M_EXTPG, M_PKTHDR, M_RDONLY, M_STRUCTURE
cdef Py_ssize_t INT_MAX, M_COPYALL, MHSIZE, MPKTHSIZE, MT_NOINIT, MT_NOTMBUF
cdef int EXT_EXTREF, EXT_NET_DRV, EXT_RXRING, MT_DATA
cdef object ALL, DRIVER, NONE
cdef Py_ssize_t END


@cython.no_gc
@cython.final
cdef class Mbuf(Chain):
    @cython.locals(n=Chain)
    cdef Chain _free_probed(self)

    @cython.locals(m=Mbuf, n=Chain)
    cdef int _freem_probed(self) except -1


cdef Mbuf _mbuf(m, str verb)
cdef bytes _bytes_of(data)
cdef int _compare(Mbuf m, str verb, other) except -2


cdef int use_whole_storage(Mbuf m) except -1


cdef inline Py_hash_t identity_hash(Mbuf m) noexcept:
    return mbuf_identity_hash(m)


cdef inline bint reusable(MbufItem item) noexcept:
    return mbuf_references(<PyObject *>item.handle) == 1


@cython.locals(m=Mbuf)
cdef Mbuf wrap(MbufItem item, Memory buf, Py_ssize_t off, int kind, unsigned int bits)


cdef inline Mbuf wrap_item(Item item, int kind, unsigned int bits):
    return wrap(<MbufItem>item, item, MPKTHSIZE if bits & M_PKTHDR else MHSIZE, kind, bits)


cdef inline Mbuf wrap_packet(Item item, int kind, unsigned int bits):
    return wrap(<MbufItem>item, <Memory>(<MbufItem>item).cluster, 0, kind, bits | M_EXT)


@cython.locals(fresh=Mbuf)
cdef Mbuf _new_handle(MbufItem item, Mbuf m, unsigned int bits)


@cython.locals(m=Mbuf)
cdef Mbuf stand_in(MbufItem item, Memory buf, Py_ssize_t off, int kind, unsigned int bits)


@cython.locals(m=Mbuf, bits=cython.uint)
cpdef call_free_routine(MbufItem item, Storage storage, free)
