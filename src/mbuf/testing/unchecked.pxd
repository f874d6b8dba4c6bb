cimport cython

from mbuf.packet.segment cimport Segment, bound, capacity, check_alive, start
from mbuf.pool.pool cimport Pool
from mbuf.pool.zones cimport Zones
from mbuf.uma.pages cimport Pages
from mbuf.vm.page cimport Memory


@cython.locals(count=Py_ssize_t, most=Py_ssize_t, buf=Memory)
cpdef put(Segment m, Py_ssize_t off, bytes data)


@cython.locals(most=Py_ssize_t)
cpdef aim(Segment m, Py_ssize_t off, Py_ssize_t count)


cpdef enforce(Pool pool, Zones zones)
cpdef supply(Pool pool, Pages pages, sfbufs, tags)
