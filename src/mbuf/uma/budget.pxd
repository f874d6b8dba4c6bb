cimport cython

from mbuf.uma.claim cimport SUPPLIES, Claim, Queue, Supply, can_keep_promises, excess, longest_run
from mbuf.uma.counters cimport Counters
from mbuf.uma.waitq cimport Waiter, Waiters, current_thread
from mbuf.vm.commit cimport enter_commit, leave_commit, run_all_releases
from mbuf.vm.vm cimport Vm

cdef enum:
    # What a thread may take: everything, what isn't promised, or nothing.
    ALL, SPARE, NOTHING

cdef Py_ssize_t _BATCH


@cython.final
cdef class Budget:
    cdef readonly Vm vm
    cdef public object error
    cdef public object on_shortage
    cdef public tuple zones
    cdef readonly long long changes
    cdef readonly unsigned long long waits, taken_back
    cdef readonly Py_ssize_t granted
    cdef readonly bint closed
    cdef Supply _first
    cdef int _number
    cdef unsigned long long _next_seq
    cdef Py_ssize_t _batch
    cdef unsigned long long _run_claim, _run_sweeps
    cdef Queue _queue
    cdef Waiters _active

    cpdef add(self, Supply supply)
    cdef int access(self, Supply supply) except -1

    @cython.locals(thread=cython.ulong, claim=Waiter)
    cdef bint _is_active(self) except -1

    @cython.locals(free=Py_ssize_t)
    cdef bint may_grow(self, Supply supply, int access) except -1

    @cython.locals(most=Py_ssize_t)
    cdef Py_ssize_t batch(self, Py_ssize_t count) except -1

    @cython.locals(s=Supply, cached=cython.bint)
    cpdef bint take_back(self) except -1
    cpdef int freed(self) except -1

    cpdef Py_ssize_t excess(self, Claim claim) except -1

    @cython.locals(granted=cython.bint)
    cpdef bint acquire(self, Claim claim, deadline) except -1

    @cython.locals(s=Supply)
    cdef int _prepare(self, Claim claim) except -1

    @cython.locals(run=Py_ssize_t)
    cpdef denied(self, Claim claim)
    cpdef int enqueue(self, Claim claim) except -1
    cpdef use(self, Claim claim, ask)

    @cython.locals(entered=cython.bint)
    cpdef int leave(self, Claim claim) except -1

    @cython.locals(s=Supply)
    cdef void _end(self, Claim claim) noexcept
    cpdef Py_ssize_t retry_after(self, Py_ssize_t seen) except -2

    @cython.locals(s=Supply)
    cdef int serve(self) except -1

    @cython.locals(s=Supply, claim=Claim)
    cdef void _grant(self) noexcept

    @cython.locals(
        s=Supply, pages=Py_ssize_t, kept=Py_ssize_t, runs=Py_ssize_t, length=Py_ssize_t, missing=Py_ssize_t,
        slabs=Py_ssize_t
    )
    cdef bint _fits(self, Claim claim) noexcept
    cdef int _wake(self) except -1

    @cython.locals(claim=Claim, entered=cython.bint)
    cdef int _end_gone(self) except -1
    cdef int _bypass(self, int change) except -1
    cpdef close(self)

    @cython.locals(claim=Claim, following=Waiter, count=Py_ssize_t, thread=cython.ulong)
    cpdef int forked(self) except -1

    @cython.locals(s=Supply, first=Claim)
    cdef str contradiction(self)
