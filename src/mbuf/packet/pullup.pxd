cimport cython

from mbuf.packet.append cimport put_front
from mbuf.packet.chain cimport Chain, check_range, cut, fingerprint, free_chain, link, next_checked, release
from mbuf.packet.header cimport ROUNDS, chain_changed
from mbuf.packet.segment cimport check_alive, leading, space, storage_of, writable
from mbuf.packet.source cimport Source, source_of
from mbuf.packet.trim cimport drop_front
from mbuf.vm.commit cimport enter_commit, leave_commit, run_releases
from mbuf.vm.page cimport Memory

cdef unsigned int M_EXT, M_EXTPG, M_PKTHDR
cdef int EXT_CLUSTER, M_NOWAIT
cdef Py_ssize_t MCLBYTES, MHLEN, MHSIZE, MLEN, MPKTHSIZE, MSIZE


@cython.locals(rest=Chain, most=Py_ssize_t)
cdef int pullup(Chain m, Py_ssize_t n) except -1
cdef int copyup(Chain m, Py_ssize_t n, Py_ssize_t room) except -1


@cython.locals(p=Chain, left=Py_ssize_t)
cdef int check_pullup(Chain m, Py_ssize_t n, str verb) except -1


@cython.locals(p=Chain, mark=cython.ulonglong, at=Py_ssize_t, taken=Py_ssize_t)
cdef bint _new_front(Chain m, Py_ssize_t n, Py_ssize_t room, Py_ssize_t most) except -1


@cython.locals(n=Chain, taken=Py_ssize_t, piece=Py_ssize_t)
cdef Py_ssize_t _collect(Chain m, Py_ssize_t need, Py_ssize_t most, Memory target, Py_ssize_t at) noexcept


@cython.locals(n=Chain, rest=Chain, piece=Py_ssize_t)
cdef void drop_copied(Chain m, Py_ssize_t taken) noexcept


@cython.locals(p=Chain, found=Chain, skip=Py_ssize_t)
cdef tuple pulldown(Chain m, Py_ssize_t off, Py_ssize_t n, bint at_start)


@cython.locals(p=Chain)
cdef int _check_mapped(Chain m, Py_ssize_t n) except -1


@cython.locals(n=Chain, after=Chain, mark=cython.ulonglong, rest=Py_ssize_t)
cdef Chain _move_tail_to_new(Chain m, Chain p, Py_ssize_t keep)


@cython.locals(source=Source)
cdef Chain _alloc(Chain m, int kind, Py_ssize_t size, Py_ssize_t most)


@cython.locals(after=Chain, here=Py_ssize_t, there=Py_ssize_t, owned=cython.bint)
cdef Chain _pull_in_place(Chain p, Py_ssize_t skip, Py_ssize_t n, bint anywhere)


@cython.locals(fresh=Chain, after=Chain, mark=cython.ulonglong, here=Py_ssize_t)
cdef Chain _pull_into_new(Chain m, Chain p, Py_ssize_t skip, Py_ssize_t n)


@cython.locals(end=Py_ssize_t, piece=Py_ssize_t)
cdef void append_from(Chain src, Py_ssize_t skip, Py_ssize_t n, Chain m) noexcept
