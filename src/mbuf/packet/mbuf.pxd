cimport cython

from mbuf.packet.chain cimport Chain
from mbuf.packet.cluster cimport Cluster
from mbuf.packet.ext cimport Storage
from mbuf.packet.external cimport External, external, freeable
from mbuf.packet.extpg cimport Extpg
from mbuf.packet.pkthdr cimport PktHdr
from mbuf.uma.item cimport Item
from mbuf.vm.loan cimport Loan, loan
from mbuf.vm.number cimport clip
from mbuf.vm.probe cimport Probes

cdef unsigned int M_COPYFLAGS, M_EXT, M_EXTPG, M_FREED, M_NOFREE, M_PKTHDR, M_RDONLY
cdef Py_ssize_t INT_MAX, MHSIZE, MPKTHSIZE
cdef int EXT_EXTREF, EXT_NET_DRV, EXT_RXRING, MT_DATA
cdef object DRIVER, NONE


@cython.no_gc
cdef class Mbuf(Extpg):
    @cython.locals(n=Mbuf)
    cpdef Mbuf free(self)

    @cython.locals(m=Mbuf, n=Chain)
    cpdef freem(self)

    @cython.locals(m=Mbuf, n=Chain)
    cdef _freem_told(self)

    @cython.locals(storage=Storage, probes=Probes)
    cpdef Mbuf cljset(self, Cluster cluster)

    @cython.locals(storage=External)
    cpdef Mbuf extaddref(self, buffer, refs, free=*, arg1=*, arg2=*)

    @cython.locals(storage=External, memory=Loan)
    cdef External _adopt(self, buffer, Py_ssize_t type, refs, Py_ssize_t flags)

    @cython.locals(item=Item, storage=External)
    cpdef detach(self)


@cython.locals(m=Mbuf)
cpdef Mbuf handle(Item item, int kind, unsigned int bits)


@cython.locals(m=Mbuf, storage=Storage)
cpdef Mbuf packet(Item item, int kind, unsigned int bits)


@cython.locals(m=Mbuf, fresh=Mbuf)
cdef Mbuf _handle(Item item)


@cython.locals(m=Mbuf)
cpdef show(Item item, Storage storage, free)


@cython.locals(todo=list, item=Item)
cdef _drop(Mbuf m)
