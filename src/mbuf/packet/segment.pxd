cimport cython

from mbuf.packet.ext cimport Storage
from mbuf.uma.item cimport MbufItem
from mbuf.vm.commit cimport check_latch
from mbuf.vm.page cimport Memory, Exporter

cdef unsigned int M_EXT, M_EXTPG, M_NOFREE, M_PKTHDR, M_RDONLY
cdef Py_ssize_t MHLEN, MHSIZE, MLEN, MPKTHSIZE, MSIZE


@cython.no_gc
cdef class Segment(Exporter):
    cdef MbufItem item
    cdef unsigned int bits
    cdef unsigned char kind
    # 0, 1 for LIVE, 2 for DOOMED.
    cdef unsigned char alive
    cdef unsigned char held
    cdef unsigned char dropped


cdef int raise_freed(Segment m) except -1
cdef int raise_not_live(Segment m) except -1
cdef Storage storage_of(Segment m)
cdef Py_ssize_t bound(Segment m) except -1
cdef bint _shared_writable(Segment m) noexcept
cdef Py_ssize_t _ext_capacity(Segment m) noexcept


cdef inline int check_alive(Segment m) except -1:
    if not m.alive:
        raise_freed(m)
    return 0


cdef inline int check_mutable(Segment m) except -1:
    check_latch()
    if m.alive != 1:
        raise_not_live(m)
    return 0


cdef inline bint taken(Segment m) noexcept:
    return m.held or m.alive == 2


cdef inline Py_ssize_t start(Segment m) noexcept:
    if m.bits & M_EXT:
        return 0
    return MPKTHSIZE if m.bits & M_PKTHDR else MHSIZE


cdef inline Py_ssize_t capacity(Segment m) noexcept:
    if m.bits & M_EXT:
        return _ext_capacity(m)
    return MHLEN if m.bits & M_PKTHDR else MLEN


cdef inline bint writable(Segment m) noexcept:
    if m.bits & (M_RDONLY | M_EXTPG):
        return False
    return not m.bits & M_EXT or _shared_writable(m)


cdef inline Py_ssize_t leading(Segment m) noexcept:
    return m.off - start(m) if writable(m) else 0


cdef inline Py_ssize_t space(Segment m) noexcept:
    if writable(m):
        return start(m) + capacity(m) - m.off - m.count
    return 0
