cimport cython

from mbuf.packet.chain cimport Chain, cut, free_chain, link
from mbuf.packet.mbuf cimport Mbuf, use_whole_storage
from mbuf.packet.segment cimport capacity, check_alive, space
from mbuf.pool.pool cimport Pool
from mbuf.vm.commit cimport run_releases
from mbuf.vm.page cimport Memory, view_of

cdef int M_NOWAIT, MT_DATA
cdef Py_ssize_t MCLBYTES, MJUM16BYTES, MLEN


cdef class ReadSizer:
    cdef Pool _pool
    cdef Py_ssize_t _step
    cdef readonly Py_ssize_t size

    @cython.locals(first=Mbuf, last=Mbuf, m=Mbuf, left=Py_ssize_t, large=cython.bint)
    cpdef Mbuf room(self, Py_ssize_t size)

    @cython.locals(m=Mbuf)
    cdef Mbuf _jumbo(self)

    @cython.locals(m=Mbuf)
    cdef Mbuf _small(self, Py_ssize_t size)

    @cython.locals(before=Mbuf, last=Mbuf, spare=Chain)
    cpdef Mbuf filled(self, Mbuf m, Py_ssize_t got, Py_ssize_t asked)
    cpdef saw(self, Py_ssize_t got, Py_ssize_t asked)

    @cython.locals(most=Py_ssize_t, small=Mbuf, target=Memory)
    cdef Mbuf _fitting(self, Mbuf m)


@cython.locals(most=Py_ssize_t)
cpdef list rooms_of(Mbuf m, Py_ssize_t size)
