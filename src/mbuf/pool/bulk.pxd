cimport cython

cimport mbuf.pool.allocator as allocator

from mbuf.packet.chain cimport Chain, free_chain
from mbuf.packet.mbuf cimport Mbuf, wrap_packet
from mbuf.pool.allocator cimport Allocator, ready
from mbuf.uma.item cimport Item
from mbuf.uma.zone cimport Zone
from mbuf.vm.commit cimport enter_commit, leave_commit, settle

cdef unsigned int _SEEN
cdef Py_ssize_t MCLBYTES


@cython.locals(zone=Zone, item=Item, packets=list)
cdef list getcl_bulk(
    Allocator a, Py_ssize_t count, int how, int type, unsigned int flags, deadline
)


@cython.locals(zone=Zone, packets=list)
cdef list getjcl_bulk(
    Allocator a, Py_ssize_t count, int how, int type, unsigned int flags, Py_ssize_t size, deadline
)


@cython.locals(mine=list, bad=Py_ssize_t)
cdef int free_bulk(list packets) except -1


@cython.locals(count=Py_ssize_t, n=Py_ssize_t, lost=Py_ssize_t, m=Mbuf)
cdef int _free(list packets) except -1


@cython.locals(count=Py_ssize_t, n=Py_ssize_t, marked=Py_ssize_t, i=Py_ssize_t)
cdef Py_ssize_t _look(list packets) noexcept


cdef bint _mark(Chain m) noexcept


cdef void _unmark(Chain m) noexcept
