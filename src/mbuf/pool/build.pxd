cimport cython

from mbuf.packet.build cimport fill_chain, from_device
from mbuf.packet.mbuf cimport Mbuf, count_whole, wrap_item
from mbuf.packet.pages cimport fill_pages
from mbuf.pool.allocator cimport Allocator, begun, get, getm2, ready
from mbuf.vm.loan cimport Loan

cdef int EXT_MOD_TYPE, M_NOWAIT, MT_DATA
cdef unsigned int M_EXTPG, M_NOFREE, M_PKTHDR
cdef Py_ssize_t INT_MAX, MBUF_PEXT_MAX_PGS, MHLEN, PAGE_SIZE


cpdef Mbuf init(Allocator a, int how, int type, unsigned int flags)


@cython.locals(size=Py_ssize_t)
cpdef Mbuf frombytes(
    Allocator a, Loan data, int how, Py_ssize_t align, Py_ssize_t flags, deadline
)


@cython.locals(size=Py_ssize_t)
cpdef Mbuf devget(Allocator a, Loan data, Py_ssize_t off, rcvif, copy, view)


@cython.locals(m=Mbuf)
cpdef Mbuf wrap(Allocator a, obj, on_free)
