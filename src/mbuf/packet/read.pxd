cimport cython

from mbuf.packet.chain cimport Chain, check_range, fingerprint, length, next_checked
from mbuf.packet.header cimport ROUNDS, chain_changed
from mbuf.packet.segment cimport check_alive, writable
from mbuf.packet.unmapped cimport Unmapped
from mbuf.vm.ints cimport fold, swapped
from mbuf.vm.page cimport Memory, view_of
from mbuf.vm.scan cimport Search, compare, compare_bytes, new_bytes, copy_out, search, set_bytes, sum16

cdef unsigned int M_EXTPG
cdef Py_ssize_t _ALL
cdef int _UNMAPPED


cdef list views(Chain m)


@cython.locals(n=Chain, found=list, left=Py_ssize_t)
cpdef list views_of(Chain m, Py_ssize_t count, Py_ssize_t size)


@cython.locals(pages=Unmapped)
cdef list pieces(Chain m)


@cython.locals(mark=cython.ulonglong, size=Py_ssize_t, data=bytes)
cdef bytes excerpt(Chain m, str verb, Py_ssize_t at, Py_ssize_t count, bint rest)


@cython.locals(n=Chain, whole=bytes, done=Py_ssize_t, count=Py_ssize_t)
cdef bytes _collect(Chain m, Py_ssize_t at, Py_ssize_t size, bint map)


@cython.locals(n=Chain, piece=Py_ssize_t, count=Py_ssize_t, left=Py_ssize_t)
cdef Py_ssize_t copyinto(Chain m, view, Py_ssize_t at, Py_ssize_t size) except -1


@cython.locals(n=Chain, buf=Memory, count=Py_ssize_t)
cdef apply(Chain m, Py_ssize_t at, Py_ssize_t left, fn)


@cython.locals(n=Chain)
cdef tuple getptr(Chain m, Py_ssize_t at)


@cython.locals(size=Py_ssize_t, buf=Memory)
cdef Py_ssize_t byte_at(Chain m, Py_ssize_t at) except -1


@cython.locals(mark=cython.ulonglong, found=cython.int)
cdef int order(Chain m, str verb, bytes data, bint prefix) except -2


@cython.locals(
    n=Chain, size=Py_ssize_t, done=Py_ssize_t, count=Py_ssize_t, more=cython.bint, found=cython.int
)
cdef int _order(Chain m, bytes data, bint prefix, bint map) except -2


@cython.locals(mark=cython.ulonglong, others=cython.ulonglong, found=cython.int)
cdef int order_chains(Chain m, str verb, Chain other) except -2


@cython.locals(n=Chain, p=Chain, at=Py_ssize_t, start=Py_ssize_t, count=Py_ssize_t, found=cython.int)
cdef int _order_chains(Chain m, Chain other) except -2


@cython.locals(n=Chain, buf=Memory, skip=Py_ssize_t, left=Py_ssize_t, count=Py_ssize_t)
cdef int rewrite(Chain m, str verb, Py_ssize_t at, bytes data) except -1


@cython.locals(n=Chain)
cdef int _check_writable(Chain m, str verb, Py_ssize_t at, Py_ssize_t left) except -1


@cython.locals(n=Chain, sum=Py_ssize_t, odd=Py_ssize_t, count=Py_ssize_t, part=Py_ssize_t)
cdef Py_ssize_t in_cksum(Chain m, Py_ssize_t at, Py_ssize_t left) except -1


cdef Py_ssize_t _place(Py_ssize_t number, Py_ssize_t size) noexcept


@cython.locals(
    n=Chain, matcher=Search, size=Py_ssize_t, first=Py_ssize_t, at=Py_ssize_t, left=Py_ssize_t,
    count=Py_ssize_t, found=Py_ssize_t
)
cdef Py_ssize_t find(Chain m, bytes sought, Py_ssize_t start, Py_ssize_t end) except -2


@cython.locals(size=Py_ssize_t, first=Py_ssize_t, left=Py_ssize_t, found=Py_ssize_t)
cdef Py_ssize_t rfind(Chain m, bytes sought, Py_ssize_t start, Py_ssize_t end) except -2
