cimport cython

from mbuf.uma.backend cimport Backend
from mbuf.uma.waitq cimport Waiter, Waiters, WaitQ

cdef enum:
    SUPPLIES = 8


cdef class Supply(Backend):
    cdef Supply _sibling
    cdef Py_ssize_t _free, _items, _pages
    cdef Py_ssize_t promised
    cdef public Py_ssize_t kept
    cdef public bint favoured
    cdef int number

    cdef bint has_empty(self) noexcept
    cdef bint grow(self) except -1


@cython.final
cdef class Claim(Waiter):
    cdef readonly unsigned long long seq
    cdef long long after
    cdef bint entered, promised
    cdef Py_ssize_t need[SUPPLIES]

    cpdef add(self, Supply supply, Py_ssize_t count)


@cython.final
cdef class Queue(WaitQ):
    cdef Waiters gone

    @cython.locals(at=Waiter)
    cdef void put_back(self, Claim claim) noexcept


cdef bint can_keep_promises(Supply s, Py_ssize_t free) except -1


@cython.locals(pages=Py_ssize_t, kept=Py_ssize_t)
cdef Py_ssize_t excess(Claim claim, Supply s, Py_ssize_t most) except -1


@cython.locals(run=Py_ssize_t)
cdef Py_ssize_t longest_run(Claim claim, Supply s) except -1
