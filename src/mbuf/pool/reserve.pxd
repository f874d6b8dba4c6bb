from mbuf.packet.source cimport until
from mbuf.vm.number cimport clip

cdef int M_NOWAIT
cdef Py_ssize_t INT_MAX, MCLBYTES
