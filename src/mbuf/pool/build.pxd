cimport cython

cimport mbuf.pool.allocator as allocator
cimport mbuf.pool.chain as chain

from mbuf.packet.build cimport pour, take_in
from mbuf.packet.mbuf cimport Mbuf, handle
from mbuf.packet.pages cimport pour_pages
from mbuf.pool.allocator cimport Allocator, ready

cdef int EXT_MOD_TYPE, M_NOWAIT, MT_DATA
cdef unsigned int M_EXTPG, M_NOFREE, M_PKTHDR
cdef Py_ssize_t INT_MAX, MBUF_PEXT_MAX_PGS, MHLEN, PAGE_SIZE


cdef Mbuf init(Allocator a, int how, int type, unsigned int flags)


@cython.locals(size=Py_ssize_t)
cdef Mbuf frombytes(
    Allocator a, data, int how, Py_ssize_t align, Py_ssize_t flags, deadline
)


@cython.locals(size=Py_ssize_t)
cdef Mbuf devget(Allocator a, data, Py_ssize_t off, rcvif, copy)


@cython.locals(m=Mbuf)
cdef Mbuf wrap(Allocator a, obj, on_free)
