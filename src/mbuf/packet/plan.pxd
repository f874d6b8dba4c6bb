cimport cython

from mbuf.packet.chain cimport Chain, cut, fingerprint, link, next_checked, release, swap
from mbuf.packet.ext cimport Storage
from mbuf.packet.header cimport move_header
from mbuf.packet.segment cimport bound, capacity, check_alive, start, storage_of
from mbuf.vm.commit cimport enter_commit, leave_commit, run_releases
from mbuf.vm.page cimport Memory
from mbuf.vm.scan cimport contiguous

cdef unsigned int M_COPYFLAGS, M_EXT, M_EXTPG, M_PKTHDR, M_RDONLY
cdef int MT_DATA
cdef Py_ssize_t MCLBYTES


@cython.final
cdef class Step:
    cdef Py_ssize_t next
    cdef Py_ssize_t index
    cdef Chain base
    cdef Py_ssize_t count
    cdef Py_ssize_t frags
    cdef Py_ssize_t request
    cdef list parts


@cython.final
cdef class Plan:
    cdef dict _removed_users
    cdef list _mbufs
    cdef list _steps
    cdef Py_ssize_t _first
    cdef Py_ssize_t _last
    cdef Py_ssize_t _count
    cdef bint _became_writable
    cdef unsigned long long _fingerprint
    cdef bint _must_own
    cdef list requests

    @cython.locals(m=Chain)
    cdef int init(self, Chain head) except -1

    @cython.locals(enough=cython.bint, before=Step, p=Step)
    cdef bint collapse(self, Py_ssize_t most) except -1

    @cython.locals(whole=cython.bint, n=Step)
    cdef bint _merge(self, Step p, Py_ssize_t most) except -1

    @cython.locals(n=Step, second=Step)
    cdef Step _find_pair(self, Step before)

    @cython.locals(n=Step)
    cdef int _join(self, Step p) except -1

    @cython.locals(last=Step, p=Step, m=Chain, stays=cython.bint)
    cdef int unshare(self) except -1

    @cython.locals(flags=cython.uint, pieces=Py_ssize_t, i=Py_ssize_t, p=Step)
    cdef int _replace(self, Chain m) except -1

    @cython.locals(p=Step)
    cdef Step _step(self, Chain base, Py_ssize_t request)

    @cython.locals(p=Step)
    cdef Step _request(self, int kind, unsigned int flags)

    @cython.locals(last=Step)
    cdef int _add_last(self, Step p) except -1
    cdef int _add(self, Step p, Step n) except -1

    @cython.locals(storage=Storage, gone=Py_ssize_t)
    cdef int _remove_user(self, Chain m) except -1
    cdef bint _external(self, Step p) except -1

    @cython.locals(m=Chain, storage=Storage)
    cdef bint _writable(self, Step p) except -1

    @cython.locals(m=Chain)
    cdef Py_ssize_t _space(self, Step p) except -1

    @cython.locals(appended=list, chain=list, spare=list, step=Step, done=cython.bint)
    cdef bint execute(self, list reserved) except -1

    @cython.locals(steps=list, at=Py_ssize_t, p=Step)
    cdef list _in_order(self)

    @cython.locals(head=Chain, p=Step, stays=Step, base=Chain, more=Memory)
    cdef bint _unchanged(self, list appended) except -1

    @cython.locals(src=Chain, target=Memory, skip=Py_ssize_t, count=Py_ssize_t)
    cdef int _copy_parts(self, Chain m, Step p) except -1

    @cython.locals(src=Chain, buf=Memory, pieces=list, skip=Py_ssize_t, count=Py_ssize_t)
    cdef bytes _read_parts(self, Step p)
    cdef int _commit(self, list appended, list chain, list spare) except -1

    @cython.locals(
        head=Chain, first=Chain, last=Chain, m=Chain, p=Step, data=Memory, n=Py_ssize_t, pair=tuple
    )
    cdef int _relink(self, list appended, list chain, list spare) except -1


@cython.locals(m=Chain)
cdef int free_all(list mbufs) except -1


@cython.locals(made=Plan)
cdef Plan plan(Chain head)
