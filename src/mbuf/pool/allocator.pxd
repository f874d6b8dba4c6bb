cimport cython

cimport mbuf.pool.extpg as extpg

from mbuf.packet.chain cimport Chain, attach, free_chain, link, release_now
from mbuf.packet.cluster cimport Cluster, cluster
from mbuf.packet.ext cimport Storage
from mbuf.packet.mbuf cimport Mbuf, stand_in, wrap_item, wrap_packet
from mbuf.packet.nofree cimport NoFree
from mbuf.packet.segment cimport check_mutable
from mbuf.packet.source cimport Source
from mbuf.pool.validate cimport at_least
from mbuf.pool.zones cimport Zones
from mbuf.uma.budget cimport Budget
from mbuf.uma.item cimport Item, free_item
from mbuf.uma.pages cimport Pages
from mbuf.uma.zone cimport Zone, cached_item
from mbuf.vm.commit cimport enter_commit, leave_commit, run_releases
from mbuf.vm.probe cimport Probes

cdef int M_NOWAIT, UMA_RECLAIM_DRAIN, UMA_RECLAIM_DRAIN_CPU
cdef unsigned char LIVE
cdef unsigned int M_EXT, M_PKTHDR
cdef Py_ssize_t MCLBYTES, MHLEN, MJUMPAGESIZE, MLEN


@cython.final
cdef class Allocator(Source):
    cdef readonly Zones zones
    cdef readonly Pages pages
    cdef readonly object sfbufs
    cdef public Budget budget
    cdef readonly Probes probes
    cdef readonly NoFree nofree
    cdef public bint several
    cdef public unsigned long long drops
    cdef public unsigned long long refused

    cpdef enforce(self, Zones zones)
    cpdef supply(self, Pages pages, sfbufs)


cdef inline int ready(Allocator a) except -1:
    if a is None or a.zones is None:
        _unmade()
    return 0


cdef int _unmade() except -1


@cython.locals(item=Item)
cdef Mbuf get(Allocator a, int how, int type, unsigned int flags, deadline)


@cython.locals(item=Item)
cdef Mbuf getcl(Allocator a, int how, int type, unsigned int flags, deadline)


cdef Mbuf getjcl(Allocator a, int how, int type, unsigned int flags, Py_ssize_t size, deadline)


cpdef bint is_packet(Py_ssize_t size) noexcept
cdef Mbuf jumbo(Allocator a, Zone zone, int how, int type, unsigned int flags, deadline)


cdef Mbuf get2(Allocator a, Py_ssize_t size, int how, int type, unsigned int flags, deadline)


@cython.locals(m=Mbuf, first=Mbuf, item=Item)
cdef Mbuf row(Allocator a, Py_ssize_t count, int how, int type, deadline)


@cython.locals(zone=Zone, item=Item)
cdef Mbuf clget(Allocator a, Mbuf m, int how, deadline)


@cython.locals(item=Item)
cdef cljget(Allocator a, Mbuf m, Py_ssize_t size, int how, deadline)


cdef Mbuf fire_init(Allocator a, Mbuf m, int how, int type, unsigned int flags)


cdef Mbuf _plain(Allocator a, int how, int type, unsigned int flags, deadline)


@cython.locals(m=Mbuf)
cdef Mbuf _get_probed(Allocator a, int how, int type, unsigned int flags, deadline)


@cython.locals(m=Mbuf)
cdef Mbuf _getcl_probed(Allocator a, int how, int type, unsigned int flags, deadline)


@cython.locals(item=Item)
cdef Item _item(Allocator a, Zone zone, int how, deadline)


@cython.locals(m=Mbuf, item=Item)
cdef Mbuf _with_cluster(Allocator a, Zone zone, int how, int type, unsigned int flags, deadline)


@cython.locals(storage=Storage, fits=cython.bint)
cdef int _attach(Mbuf m, Item item) except -1


cdef int attachable(Mbuf m) except -1


@cython.locals(item=Item)
cdef Item second_try(Allocator a, Zone zone, int how, deadline)


@cython.locals(denier=Zone, each=Zone)
cdef Item _from_others(Zone zone)


cdef refusal(Allocator a, Zone zone)
