cimport cython
from cpython.object cimport PyObject

from mbuf.packet.ext cimport Storage, lone_packet
from mbuf.packet.pkthdr cimport PktHdr, has_references, reset_header
from mbuf.packet.segment cimport (
    Segment,
    capacity,
    check_alive,
    raise_freed,
    raise_not_live,
    start,
    storage_of,
    writable,
)
from mbuf.uma.item cimport Item, MbufItem, free_item
from mbuf.vm.commit cimport LATCH, Latch, enter_commit, run_releases_unraisable, leave_commit, release_later
from mbuf.vm.references cimport mbuf_references

cdef unsigned char DOOMED
cdef unsigned int M_EXT, M_EXTPG, M_NOFREE, M_PKTHDR


@cython.no_gc
cdef class Chain(Segment):
    cdef Chain _next
    cdef Chain _nextpkt
    cdef PktHdr hdr

    cdef bint before_export(self) except -1

    @cython.locals(item=MbufItem, dropped=cython.bint)
    cdef int on_release(self) except -1


cdef void drop(Chain m) noexcept


@cython.locals(n=Chain, p=Chain)
cdef int unlink_next(Chain m) except -1


@cython.locals(n=Chain)
cdef Chain next_checked(Chain m)


@cython.locals(n=Chain, total=Py_ssize_t)
cdef Py_ssize_t length(Chain m) except -1


@cython.locals(n=Chain)
cdef Chain last_of(Chain m)


@cython.locals(n=Chain, there=Py_ssize_t)
cdef int check_range(Chain m, str verb, Py_ssize_t at, Py_ssize_t count) except -1


@cython.locals(n=Chain, mark=cython.ulonglong)
cdef unsigned long long fingerprint(Chain m) except? 0
cdef int check_link(Chain m, Chain n, str verb) except -1


@cython.locals(p=Chain, q=Chain)
cdef int _check_circle(Chain m, Chain n, str verb) except -1


@cython.locals(before=Chain)
cdef int set_next(Chain m, Chain n) except -1


@cython.locals(before=Chain)
cdef int set_nextpkt(Chain m, Chain n) except -1
cdef void link(Chain m, Chain n) noexcept


cdef inline Chain link_last(Chain first, Chain last, Chain m):
    if last is None:
        return m
    link(last, m)
    return first


@cython.locals(n=Chain)
cdef Chain cut(Chain m)

cdef void swap(Chain m, Chain n) noexcept
cdef void attach(Chain m, Storage storage) noexcept


cdef void release_probed(Chain m) noexcept


@cython.locals(item=MbufItem)
cdef void release_now(Chain m) noexcept


cdef inline void release(Chain m) noexcept:
    if m.alive == 2 or m.item.zone.probes.on:
        release_probed(m)
    else:
        release_now(m)


@cython.locals(p=Chain)
cdef void _release_nextpkt(Chain m) noexcept


@cython.locals(hdr=PktHdr, storage=Storage)
cdef void _release_header(Chain m, Item item, unsigned int bits) noexcept


@cython.locals(n=Chain)
cdef void release_chain(Chain m) noexcept
cdef void free_chain(Chain m) noexcept


cdef inline bint header_shared(Chain m) noexcept:
    return mbuf_references(<PyObject *>m.hdr) != 1


@cython.locals(hdr=PktHdr)
cdef int own_header(Chain m) except -1
cdef PktHdr pkthdr_of(Chain m)

cdef size_t _address(thing) noexcept


cdef inline unsigned long long _mixed(
    unsigned long long mark, unsigned long long low, unsigned long long high
) noexcept:
    return (mark ^ low ^ high << 32) * 1099511628211ULL
