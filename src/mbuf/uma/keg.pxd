cimport cython

from mbuf.uma.bucket cimport Bucket
from mbuf.uma.budget cimport ALL, NOTHING, Budget
from mbuf.uma.claim cimport Supply
from mbuf.uma.item cimport Item, in_zone, leave_zone, mark_free
from mbuf.uma.slab cimport Slab, Slabs, init_slab, lowest_free, set_free, set_used
from mbuf.uma.waitq cimport Waiter, WaitQ, microseconds
from mbuf.vm.commit cimport enter_commit, leave_commit, run_all_releases
from mbuf.vm.poison cimport poison_run, unpoison_run
from mbuf.vm.vm cimport Vm

cdef int M_WAITOK
cdef Py_ssize_t PAGE_SIZE


cdef class Keg(Supply):
    cdef readonly Vm vm
    cdef readonly Budget budget
    cdef readonly str name
    cdef readonly Py_ssize_t size
    cdef readonly object kind
    cdef readonly object layout
    cdef readonly bint closed
    cdef readonly Py_ssize_t slabs
    cdef Py_ssize_t _rsize
    cdef Slabs _partial, _empty, _full
    cdef readonly WaitQ _waiters

    cpdef join(self, Budget budget)

    @cython.locals(most=Py_ssize_t, had=Py_ssize_t)
    cpdef take(self, Bucket bucket, Py_ssize_t count, int how, deadline)

    @cython.locals(budget=Budget, had=Py_ssize_t, last=cython.int, access=cython.int)
    cdef _take_shared(self, Bucket bucket, Py_ssize_t most)

    @cython.locals(allowed=Py_ssize_t)
    cdef _take_allowed(self, Bucket bucket, Py_ssize_t most, int access)
    cdef Py_ssize_t batch(self, Py_ssize_t count) except -1
    cpdef claim(self, claim, Py_ssize_t count)

    @cython.locals(slab=Slab, item=Item, n=cython.int)
    cdef _cut(self, Bucket bucket, Py_ssize_t most)

    @cython.locals(item=Item)
    cdef Item _make(self, Slab slab, Py_ssize_t start)

    @cython.locals(slab=Slab, page=Py_ssize_t)
    cdef bint grow(self) except -1
    cdef int fresh(self, Slab slab) except -1

    @cython.locals(into=Slabs)
    cdef void _relist(self, Slab slab) noexcept

    @cython.locals(slab=Slab, right=cython.bint, budget=Budget)
    cpdef give(self, Item item)
    cdef bint _return_item(self, Item item, Slab slab, Py_ssize_t place) noexcept

    @cython.locals(slab=Slab, slabs=Py_ssize_t)
    cpdef Py_ssize_t drain(self) except -1
    cdef bint has_empty(self) noexcept
    cpdef close(self)

    @cython.locals(waiter=Waiter, stay=cython.bint, granted=cython.bint)
    cdef bint _wait(self, deadline) except -1
    cdef bint _has_room(self) noexcept
    cdef int _dequeue(self, Waiter waiter) except -1
    cpdef int forked(self) except -1
    cpdef Waiter enqueue(self, wake)
    cpdef dequeue(self, Waiter call)
    cpdef use_grant(self, Waiter call, ask)
    cdef int _wake(self) except -1
    cdef int _wake_granted(self) except -1
    cpdef int wake_all(self) except -1
