cimport cython

from mbuf.packet.chain cimport Chain
from mbuf.vm.number cimport clip, fold, swapped
from mbuf.vm.page cimport pane
from mbuf.vm.scan cimport Gather, Search, gather, pour, search, total

cdef Py_ssize_t M_COPYALL
cdef unsigned int M_EXTPG


@cython.no_gc
cdef class Content(Chain):
    @cython.locals(at=Py_ssize_t, left=Py_ssize_t)
    cpdef bytes copydata(self, off, len)

    @cython.locals(count=Py_ssize_t, m=Chain, whole=Gather)
    cdef bytes excerpt(self, str verb, Py_ssize_t at, Py_ssize_t left)

    @cython.locals(
        size=Py_ssize_t, at=Py_ssize_t, count=Py_ssize_t, left=Py_ssize_t, n=Py_ssize_t, m=Chain
    )
    cpdef copyinto(self, buffer, off=*)

    @cython.locals(at=Py_ssize_t, left=Py_ssize_t, n=Py_ssize_t, m=Chain)
    cpdef apply(self, off, len, fn)

    @cython.locals(at=Py_ssize_t, m=Chain)
    cpdef tuple getptr(self, loc)

    @cython.locals(at=Py_ssize_t, size=Py_ssize_t)
    cpdef unpack(self, fmt, offset=*)

    @cython.locals(left=Py_ssize_t, skip=Py_ssize_t, n=Py_ssize_t, m=Chain)
    cdef rewrite(self, str verb, Py_ssize_t at, bytes data)

    @cython.locals(
        at=Py_ssize_t, end=Py_ssize_t, left=Py_ssize_t, sum=Py_ssize_t, odd=cython.bint,
        n=Py_ssize_t, part=Py_ssize_t, m=Chain
    )
    cpdef in_cksum(self, len=*, skip=*)

    @cython.locals(
        sought=bytes, first=Py_ssize_t, at=Py_ssize_t, found=Py_ssize_t, looking=Search, m=Chain
    )
    cpdef Py_ssize_t find(self, pattern, start=*) except -2

    @cython.locals(there=Py_ssize_t, m=Chain)
    cdef int span(self, str verb, Py_ssize_t at, Py_ssize_t count) except -1

    @cython.locals(m=Chain)
    cdef int _open(self, str verb, Py_ssize_t at, Py_ssize_t left) except -1
