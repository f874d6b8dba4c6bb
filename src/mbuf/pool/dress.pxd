cimport cython

from mbuf.packet.ext cimport Storage
from mbuf.packet.mbuf cimport Mbuf, handle, packet
from mbuf.packet.source cimport Source
from mbuf.pool.zones cimport Zones
from mbuf.uma.item cimport Item
from mbuf.uma.zone cimport Zone
from mbuf.vm.probe cimport Probes

cdef unsigned int M_FREED
cdef unsigned int M_PKTHDR


cdef class Dresser(Source):
    cdef public Zones zones
    cdef readonly Probes probes
    cdef unsigned long long _drops

    @cython.locals(zone=Zone, item=Item)
    cdef Mbuf plain(self, int how, int type, unsigned int flags, deadline)

    @cython.locals(zone=Zone, item=Item)
    cdef Mbuf paired(self, int how, int type, unsigned int flags, deadline)
    cdef Mbuf begun(self, Mbuf m, int how, int type, unsigned int flags)

    @cython.locals(m=Mbuf)
    cdef Mbuf with_cluster(self, Zone zone, int how, int type, unsigned int flags, deadline)
    cdef Item raw(self, Zone zone, int how, deadline)

    @cython.locals(storage=Storage)
    cdef Mbuf fit(self, Mbuf m, Item item)

    @cython.locals(m=Mbuf)
    cdef Mbuf asked(self, int how, int type, unsigned int flags, deadline)

    @cython.locals(m=Mbuf)
    cdef Mbuf asked_cl(self, int how, int type, unsigned int flags, deadline)
    cpdef dropped(self, Item item)
