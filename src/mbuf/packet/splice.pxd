cimport cython

from mbuf.packet.pkthdr cimport add_len
from mbuf.packet.chain cimport Chain, cut, fingerprint, free_chain, length, link, next_checked
from mbuf.packet.copy cimport acquire_share, move_tail
from mbuf.packet.header cimport ROUNDS, chain_changed, demote_all
from mbuf.packet.segment cimport check_alive, taken, writable
from mbuf.packet.source cimport source_of
from mbuf.packet.trim cimport check_joined
from mbuf.vm.commit cimport enter_commit, leave_commit, run_releases

cdef unsigned int M_PKTHDR


@cython.locals(
    p=Chain, tail=Chain, rest=Chain, last=Chain, mark=cython.ulonglong, other=cython.ulonglong,
    at=Py_ssize_t, more=Py_ssize_t,
)
cdef int insert(Chain m, Py_ssize_t off, Chain n, int how, deadline) except -1


@cython.locals(p=Chain, tail=Chain, mark=cython.ulonglong, at=Py_ssize_t)
cdef int remove(Chain m, Py_ssize_t off, Py_ssize_t size, int how, deadline) except -1


@cython.locals(p=Chain, at=Py_ssize_t)
cdef Chain _mbuf_before(Chain m, Py_ssize_t off, str verb)


@cython.locals(n=Chain, total=Py_ssize_t)
cdef Py_ssize_t _bytes_before(Chain m, Chain p) noexcept


@cython.locals(n=Chain)
cdef Chain _acquire_tail(Chain m, Chain p, int how, deadline)


@cython.locals(rest=Chain)
cdef void _split_at(Chain p, Chain tail, Py_ssize_t keep) noexcept


@cython.locals(piece=Py_ssize_t)
cdef void _drop_bytes(Chain p, Py_ssize_t at, Py_ssize_t left) noexcept
