cimport cython

from mbuf.packet.pkthdr cimport add_len
from mbuf.packet.chain cimport (
    Chain,
    check_link,
    cut,
    last_of,
    length,
    link,
    next_checked,
    pkthdr_of,
    release,
    release_chain,
)
from mbuf.packet.header cimport demote_all, drop_header
from mbuf.packet.segment cimport check_alive, space, writable
from mbuf.vm.commit cimport enter_commit, leave_commit, release_later, run_releases

cdef unsigned int M_EXTPG, M_PKTHDR


cdef int adj(Chain m, Py_ssize_t n) except -1


@cython.locals(p=Chain, left=Py_ssize_t)
cdef int _adj_front(Chain m, Py_ssize_t n) except -1


@cython.locals(p=Chain, left=Py_ssize_t, piece=Py_ssize_t)
cdef void drop_front(Chain m, Py_ssize_t n) noexcept


@cython.locals(p=Chain, left=Py_ssize_t, total=Py_ssize_t)
cdef int _adj_end(Chain m, Py_ssize_t n) except -1
cdef int cat(Chain m, Chain n) except -1


@cython.locals(more=Py_ssize_t)
cdef int catpkt(Chain m, Chain n) except -1


@cython.locals(p=Chain)
cdef int check_joined(Chain m, Chain n, str verb) except -1


@cython.locals(last=Chain, rest=Chain)
cdef void join(Chain m, Chain n) noexcept


@cython.locals(n=Chain, total=Py_ssize_t)
cdef int sanity(Chain m, bint sanitize) except -1


@cython.locals(n=Chain, p=Chain)
cdef void _sanitize(Chain m, Py_ssize_t total) noexcept


@cython.locals(before=Chain, rest=Chain)
cdef int unlink(Chain m, Chain n) except -1
