cimport cython

cimport mbuf.pool.allocator as allocator

from mbuf.packet.chain cimport Chain, free_chain, last_of, link, link_last
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.segment cimport capacity, check_mutable
from mbuf.pool.allocator cimport Allocator, ready
from mbuf.vm.commit cimport enter_commit, leave_commit, run_releases

cdef int M_NOWAIT, M_WAITOK
cdef unsigned int M_EOR, M_PKTHDR
cdef Py_ssize_t MCLBYTES, MHLEN, MINCLSIZE, MJUMPAGESIZE, MLEN


@cython.locals(first=Mbuf, tail=Chain)
cdef Mbuf getm2(Allocator a, Mbuf m, Py_ssize_t size, int how, int type, unsigned int flags, deadline)


@cython.locals(waited=Mbuf)
cdef Mbuf _chain(Allocator a, Py_ssize_t size, int how, int type, unsigned int flags, deadline)


@cython.locals(first=Mbuf, last=Mbuf, m=Mbuf)
cdef Mbuf make_chain(Allocator a, Py_ssize_t size, int how, int type, unsigned int flags, deadline)


@cython.locals(m=Mbuf)
cdef Mbuf _next(Allocator a, Py_ssize_t size, int how, int type, unsigned int flags, deadline)


@cython.locals(refused=cython.ulonglong)
cdef Mbuf try_page(Allocator a, Py_ssize_t size, int type, unsigned int flags)

cdef bint needs_cluster(Py_ssize_t size) noexcept
