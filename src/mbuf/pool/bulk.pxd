cimport cython

from mbuf.packet.chain cimport Chain
from mbuf.packet.mbuf cimport Mbuf, handle, packet
from mbuf.packet.source cimport until
from mbuf.pool.alloc cimport Allocator
from mbuf.pool.ask cimport check
from mbuf.uma.item cimport Item
from mbuf.uma.zone cimport Zone
from mbuf.vm.number cimport clip

cdef int M_NOWAIT, MT_DATA
cdef unsigned int M_FREED, M_PKTHDR
cdef Py_ssize_t MCLBYTES, MJUMPAGESIZE


cdef class Bulk(Allocator):
    cpdef Chain get_row(self, n, how=*, object type=*, timeout=*)

    @cython.locals(zone=Zone, item=Item, first=Mbuf, m=Mbuf)
    cdef Mbuf _row(self, Py_ssize_t count, int how, int type, deadline)
    cpdef list getcl_bulk(self, n, how=*, object type=*, flags=*, timeout=*)

    @cython.locals(packets=list, item=Item, zone=Zone)
    cdef list _packets(self, Py_ssize_t count, int how, int type, unsigned int flags, deadline)

    @cython.locals(count=Py_ssize_t, packets=list, zone=Zone)
    cpdef list getjcl_bulk(self, n, how=*, object type=*, flags=*, size=*, timeout=*)

    @cython.locals(m=Mbuf, n=Py_ssize_t)
    cpdef free_bulk(self, list packets)


cdef Py_ssize_t _number(str verb, n) except -1
