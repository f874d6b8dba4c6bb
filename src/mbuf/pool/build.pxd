cimport cython

cimport mbuf.pool.allocator as allocator
cimport mbuf.pool.chain as chain

from mbuf.packet.build cimport fill_chain, from_device
from mbuf.packet.attach cimport attach_buffer
from mbuf.packet.mbuf cimport Mbuf, call_free_routine, use_whole_storage, wrap_item
from mbuf.packet.pages cimport fill_pages
from mbuf.pool.allocator cimport Allocator, ready
from mbuf.vm.buffer_export cimport BufferExport

cdef int EXT_MOD_TYPE, M_NOWAIT, MT_DATA
cdef unsigned int M_EXTPG, M_NOFREE, M_PKTHDR
cdef Py_ssize_t INT_MAX, MBUF_PEXT_MAX_PGS, MHLEN, PAGE_SIZE


cdef Mbuf init(Allocator a, int how, int type, unsigned int flags)


@cython.locals(size=Py_ssize_t)
cdef Mbuf frombytes(
    Allocator a, BufferExport data, int how, Py_ssize_t align, Py_ssize_t flags, deadline
)


@cython.locals(size=Py_ssize_t)
cdef Mbuf devget(Allocator a, BufferExport data, Py_ssize_t off, rcvif, copy, view)


@cython.locals(m=Mbuf)
cdef Mbuf wrap(Allocator a, obj, on_free)
