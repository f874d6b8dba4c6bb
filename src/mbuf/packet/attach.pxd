cimport cython

from mbuf.packet.chain cimport Chain, attach
from mbuf.packet.cluster cimport Cluster
from mbuf.packet.ext cimport Storage
from mbuf.packet.external cimport External, RefCount, external, freeable
from mbuf.packet.segment cimport check_alive, check_mutable, start
from mbuf.vm.buffer_export cimport BufferExport, export_buffer
from mbuf.vm.commit cimport check_latch, enter_commit, leave_commit, run_releases
from mbuf.vm.probe cimport Probes

cdef unsigned char LIVE
cdef unsigned int M_COPYFLAGS, M_EXT, M_NOFREE, M_PKTHDR, M_RDONLY
cdef Py_ssize_t INT_MAX
cdef int EXT_EXTREF, EXT_NET_DRV, EXT_RXRING


@cython.locals(storage=Storage, probes=Probes)
cdef int take_cluster(Chain m, Cluster cluster) except -1


@cython.locals(storage=External)
cdef detach(Chain m)


@cython.locals(memory=BufferExport, storage=External)
cdef int attach_buffer(
    Chain m, buffer, Py_ssize_t kind, RefCount refs, Py_ssize_t bits, free, arg1, arg2, call
) except -1
cdef int _check_attach(Chain m, Py_ssize_t kind, Py_ssize_t bits) except -1
