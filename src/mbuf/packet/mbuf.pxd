cimport cython

from mbuf.packet.chain cimport Chain
from mbuf.packet.cluster cimport Cluster
from mbuf.packet.content cimport Content
from mbuf.packet.ext cimport Storage
from mbuf.packet.pkthdr cimport PktHdr
from mbuf.uma.item cimport Item

cdef unsigned int M_FREED
cdef unsigned int M_COPYFLAGS, M_EXT, M_PKTHDR, M_RDONLY
cdef Py_ssize_t MHSIZE, MPKTHSIZE


@cython.no_gc
cdef class Mbuf(Content):
    @cython.locals(n=Mbuf)
    cpdef Mbuf free(self)

    @cython.locals(m=Mbuf, n=Chain)
    cpdef freem(self)
    cdef origin(self)

    @cython.locals(storage=Storage)
    cpdef Mbuf cljset(self, Cluster cluster)

    @cython.locals(count=Py_ssize_t, space=Py_ssize_t, last=Mbuf)
    cpdef Mbuf append(self, data)

    @cython.locals(first=Mbuf, last=Mbuf, m=Mbuf)
    cdef Mbuf _more(self, data, Py_ssize_t at, Py_ssize_t count)

    @cython.locals(top=Mbuf, last=Mbuf, m=Mbuf, n=Mbuf)
    cpdef Mbuf copypacket(self, how=*, timeout=*)


cdef _copy_data(Mbuf m, Mbuf n, Py_ssize_t off)


@cython.locals(m=Mbuf)
cpdef Mbuf handle(Item item, int kind, unsigned int bits)


@cython.locals(m=Mbuf, storage=Storage)
cpdef Mbuf packet(Item item, int kind, unsigned int bits)


@cython.locals(m=Mbuf, fresh=Mbuf)
cdef Mbuf _handle(Item item)


@cython.locals(todo=list, item=Item)
cdef _drop(Mbuf m)
