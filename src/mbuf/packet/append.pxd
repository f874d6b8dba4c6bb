cimport cython

from mbuf.packet.pkthdr cimport add_len
from mbuf.packet.chain cimport (
    Chain,
    cut,
    fingerprint,
    free_chain,
    last_of,
    length,
    link,
    link_last,
    next_checked,
    pkthdr_of,
    swap,
)
from mbuf.packet.header cimport ROUNDS, chain_changed, move_header
from mbuf.packet.segment cimport capacity, check_alive, space, start, writable
from mbuf.packet.source cimport Source, source_of
from mbuf.vm.commit cimport enter_commit, leave_commit, run_releases
from mbuf.vm.buffer_export cimport BufferExport
from mbuf.vm.page cimport Memory

cdef unsigned int M_EXTPG, M_PKTHDR
cdef int M_NOWAIT
cdef Py_ssize_t MCLBYTES, MHLEN, MLEN


@cython.locals(p=Chain, head=cython.uint, most=Py_ssize_t)
cdef int prepend(Chain m, Py_ssize_t n, int how, deadline) except -1


@cython.locals(rest=Chain)
cdef void put_front(Chain m, Chain n) noexcept


@cython.locals(last=Chain, more=Chain, size=Py_ssize_t, room=Py_ssize_t)
cdef int append(Chain m, BufferExport data) except -1
cdef void _commit_append(Chain m, Chain last, BufferExport data, Py_ssize_t count, Chain more) noexcept


@cython.locals(first=Chain, last=Chain, m=Chain, buf=Memory, gap=Py_ssize_t, piece=Py_ssize_t)
cdef Chain chain_of_bytes(
    Source source, int kind, Py_ssize_t zeros, BufferExport data, Py_ssize_t at, Py_ssize_t size
)


@cython.locals(
    p=Chain, last=Chain, more=Chain, mark=cython.ulonglong, size=Py_ssize_t, skip=Py_ssize_t,
    before=Py_ssize_t, zeros=Py_ssize_t, there=Py_ssize_t, room=Py_ssize_t, end=Py_ssize_t,
)
cdef int copyback(Chain m, Py_ssize_t off, BufferExport data) except -1


@cython.locals(n=Chain, done=Py_ssize_t, piece=Py_ssize_t)
cdef Py_ssize_t _overlap(Chain m, Py_ssize_t skip, Py_ssize_t size) except -1


@cython.locals(n=Chain, at=Py_ssize_t, piece=Py_ssize_t)
cdef void _overwrite(Chain m, Py_ssize_t skip, BufferExport data, Py_ssize_t size) noexcept


@cython.locals(
    source=Source, top=Chain, fresh=Chain, p=Chain, mark=cython.ulonglong, at=Py_ssize_t, rest=Py_ssize_t,
)
cdef tuple makespace(Chain m, Py_ssize_t skip, Py_ssize_t size)


@cython.locals(rest=Py_ssize_t)
cdef Chain _open_gap_in_place(Chain m, Chain p, Py_ssize_t at, Py_ssize_t size)


@cython.locals(after=Chain, found=Chain, last=Chain)
cdef Chain _open_gap_in_new(Chain m, Chain p, Py_ssize_t at, Py_ssize_t size, Chain top, Chain fresh)


@cython.locals(top=Chain, last=Chain, n=Chain, piece=Py_ssize_t)
cdef Chain _tail_copy(Source source, Chain m, Py_ssize_t at, Py_ssize_t rest)
