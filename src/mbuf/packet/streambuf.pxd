cimport cython

from mbuf.packet.chain cimport next_checked
from mbuf.packet.header cimport ROUNDS, chain_changed
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.segment cimport check_alive
from mbuf.packet.sockbuf cimport SockBuf
from mbuf.vm.commit cimport check_latch
from mbuf.vm.ints cimport count, integer
from mbuf.vm.scan cimport Search, search
from mbuf.vm.scan cimport find as find_in


cdef class StreamBuffer(SockBuf):
    cdef readonly Py_ssize_t limit
    cdef bytes _pattern
    cdef Py_ssize_t _searched
    cdef Py_ssize_t _pos_offset
    cdef Mbuf _pos_mbuf

    @cython.locals(more=Py_ssize_t)
    cdef Py_ssize_t check_append(self, Mbuf m) except -1
    cdef int before_drop(self, Py_ssize_t size) except -1
    cdef _reset_search(self, Py_ssize_t searched)

    @cython.locals(
        begin=Py_ssize_t, at=Py_ssize_t, end=Py_ssize_t, place=Py_ssize_t, found=Py_ssize_t,
        removals="unsigned long long", sought=bytes, m=Mbuf,
    )
    cpdef Py_ssize_t find(self, sep, start=*) except -2

    @cython.locals(m=Mbuf, place=Py_ssize_t)
    cdef _mbuf_with(self, Py_ssize_t at)

    @cython.locals(found=Py_ssize_t, matcher=Search)
    cdef Py_ssize_t _search(self, Mbuf m, Py_ssize_t skip, bytes sought) except -2

    @cython.locals(
        longest=Py_ssize_t, found=Py_ssize_t, size=Py_ssize_t, removals="unsigned long long", sought=bytes,
        head=Mbuf,
    )
    cpdef Mbuf take_until(self, sep, most=*)

    @cython.locals(most=Py_ssize_t, data=bytes)
    cpdef bytes read(self, n)

    @cython.locals(data=bytes)
    cdef bytes _copy_front(self, Py_ssize_t size, unsigned long long removals)

    @cython.locals(
        longest=Py_ssize_t, found=Py_ssize_t, removals="unsigned long long", sought=bytes, data=bytes
    )
    cpdef read_until(self, sep, most)


cdef bytes _pattern_of(sep)
