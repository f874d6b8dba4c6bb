cimport cython

from mbuf.packet.chain cimport Chain, next_checked
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.segment cimport check_alive
from mbuf.pool.bulk cimport free_bulk
from mbuf.vm.ints cimport integer

cdef unsigned int M_NOTREADY, M_PKTHDR, M_VLANTAG
cdef Py_ssize_t _FREE, _forks


@cython.locals(count=Py_ssize_t)
cpdef Py_ssize_t check_count(n) except -1
cpdef int check_usable(str call, bint closed, bint busy) except -1


@cython.final
cdef class CallLock:
    cdef str _call
    cdef Py_ssize_t _held
    cdef public bint closed

    cpdef bint held(self)
    cpdef int check(self) except -1
    cpdef int acquire(self) except -1
    cpdef int release(self) except -1


cpdef bint close_calls(CallLock pull, CallLock push) except -1
cpdef int check_list(packets) except -1


@cython.locals(m=Mbuf)
cpdef Mbuf check_packet(thing)


@cython.locals(n=Chain)
cpdef int check_ready(str call, Chain m) except -1
cpdef int check_mbuf_ready(str call, Chain m) except -1
cpdef int check_untagged(Mbuf m) except -1
cpdef int check_addressed(Mbuf m) except -1


@cython.locals(same=Py_ssize_t, i=Py_ssize_t, n=Py_ssize_t)
cpdef int remove_sent(list packets, list sent) except -1


@cython.locals(sent=list)
cpdef int free_sent(list packets, Py_ssize_t count) except -1
