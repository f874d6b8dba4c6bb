cimport cython

from mbuf.vm.commit cimport enter_commit, leave_commit
from mbuf.vm.event cimport Event
from mbuf.vm.pagemap cimport PageMap

cdef Py_ssize_t PAGE_SIZE
cdef double SEVERE_PERIOD


cdef class Vm:
    cdef readonly object clock
    cdef public double lowmem_period
    cdef readonly PageMap map
    cdef readonly Py_ssize_t realmem
    cdef readonly Event lowmem
    cdef readonly Event reclaim
    cdef readonly Event shortage
    cdef readonly Event freed
    cdef double _told_pages, _told_kmem

    cpdef Py_ssize_t take(self, Py_ssize_t count) except -2
    cpdef place(self, Py_ssize_t page)
    cdef bint _give(self, Py_ssize_t page, Py_ssize_t count) except -1
    cpdef sweep(self)

    @cython.locals(best=Py_ssize_t)
    cpdef Py_ssize_t largest_run(self) except -1
    cdef bint _due(self, bint pages, double now, double period) except -1
    cdef str _unknown(self, list runs)
