cimport cython

from mbuf.packet.epg cimport Epg
from mbuf.packet.extpg cimport Extpg
from mbuf.packet.unmapped cimport Unmapped, unmapped
from mbuf.uma.item cimport Item

cdef int EPG_FLAG_ANON


@cython.locals(pages=Unmapped)
cpdef Unmapped alone(Extpg m, str verb)


@cython.locals(pages=Unmapped)
cpdef int hold(Extpg m, tls) except -1


@cython.locals(pages=Unmapped, epg=Epg, first=Py_ssize_t)
cpdef bytes payload(Extpg m)


@cython.locals(
    pages=Unmapped, fresh=Unmapped, epg=Epg, at=Py_ssize_t, page=Py_ssize_t, start=Py_ssize_t, n=Py_ssize_t,
    frame=Item
)
cpdef Unmapped renewed(Extpg m, data, int how, deadline)


@cython.locals(pages=Unmapped, epg=Epg, lies=tuple)
cpdef int exchange(Extpg m, Unmapped fresh, bytes trail) except -1


@cython.locals(owner=Item)
cpdef int forget(Unmapped fresh) except -1
