cimport cython

from mbuf.packet.epg cimport Epg
from mbuf.packet.chain cimport Chain
from mbuf.packet.extpg cimport pages_of
from mbuf.packet.unmapped cimport Unmapped, alloc_frames, free_frames, unmapped
from mbuf.uma.item cimport Item
from mbuf.vm.commit cimport enter_commit, leave_commit, run_releases

cdef int EPG_FLAG_ANON


@cython.locals(pages=Unmapped)
cpdef Unmapped check_sole_user(Chain m, str verb)


@cython.locals(pages=Unmapped)
cpdef int hold(Chain m, tls) except -1


@cython.locals(pages=Unmapped, epg=Epg, first=Py_ssize_t)
cpdef bytes payload(Chain m)


@cython.locals(
    pages=Unmapped, fresh=Unmapped, epg=Epg, at=Py_ssize_t, page=Py_ssize_t, start=Py_ssize_t, n=Py_ssize_t,
    frame=Item, frames=list
)
cpdef Unmapped new_pages(Chain m, data, int how, deadline)


@cython.locals(pages=Unmapped, epg=Epg, lies=tuple, numbers=tuple)
cpdef int exchange(Chain m, Unmapped fresh, bytes trail) except -1


@cython.locals(owner=Item)
cpdef int free_pages(Unmapped fresh) except -1
