cimport cython

from mbuf.packet.chain cimport Chain, cut, free_chain, link, link_last
from mbuf.packet.mbuf cimport Mbuf, use_whole_storage
from mbuf.packet.segment cimport capacity, check_alive, space
from mbuf.pool.pool cimport Pool
from mbuf.vm.commit cimport run_releases
from mbuf.vm.page cimport Memory, view_of

cdef int M_NOWAIT, MT_DATA
cdef Py_ssize_t MCLBYTES, MJUM16BYTES, MLEN


cdef class ReadSizer:
    cdef Pool _pool
    cdef Py_ssize_t _index
    cdef readonly Py_ssize_t size

    @cython.locals(first=Chain, last=Chain, m=Mbuf, chain=Mbuf, left=Py_ssize_t, large=cython.bint)
    cpdef Mbuf alloc(self, Py_ssize_t size)

    @cython.locals(m=Mbuf)
    cdef Mbuf _alloc_large(self)

    @cython.locals(m=Mbuf)
    cdef Mbuf _alloc_small(self, Py_ssize_t size)

    @cython.locals(previous=Mbuf, last=Mbuf, empty=Chain, left=Py_ssize_t)
    cpdef Mbuf shrink_to_fit(self, Mbuf m, Py_ssize_t nbytes, Py_ssize_t asked)
    cpdef adapt(self, Py_ssize_t nbytes, Py_ssize_t asked)

    @cython.locals(fit=Py_ssize_t, small=Mbuf, target=Memory)
    cdef Mbuf _fit(self, Mbuf m)


@cython.locals(count=Py_ssize_t)
cpdef list room_views(Mbuf m, Py_ssize_t size)
