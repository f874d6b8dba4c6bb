cimport mbuf.pool.allocator as allocator

from mbuf.packet.source cimport until
from mbuf.pool.validate cimport validate
from mbuf.vm.commit cimport check_latch, run_releases
from mbuf.vm.ints cimport integer

cdef int M_NOWAIT, MT_DATA
cdef Py_ssize_t INT_MAX, MCLBYTES
