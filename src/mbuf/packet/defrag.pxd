cimport cython

from mbuf.packet.pkthdr cimport has_references
from mbuf.packet.chain cimport (
    Chain,
    cut,
    fingerprint,
    free_chain,
    length,
    link,
    link_last,
    next_checked,
    release_chain,
    swap,
)
from mbuf.packet.header cimport (
    ROUNDS,
    HeaderCopy,
    acquire_header,
    chain_changed,
    discard_header,
    fits_header,
    give_header,
)
from mbuf.packet.plan cimport Plan, free_all, plan
from mbuf.packet.segment cimport capacity, check_alive, storage_of
from mbuf.packet.source cimport Source, source_of
from mbuf.packet.trim cimport join
from mbuf.vm.commit cimport enter_commit, leave_commit, run_releases
from mbuf.vm.page cimport Memory

cdef unsigned int M_EXT, M_PKTHDR
cdef int MT_DATA
cdef Py_ssize_t MCLBYTES, MHLEN, MLEN, MSIZE


cdef int defrag(Chain m, int how, deadline) except -1
cdef int compact(Chain m, int how, deadline) except -1
cdef int fragment(Chain m, Py_ssize_t size, int how, deadline) except -1


@cython.locals(held=HeaderCopy, top=Chain, source=Source, mark=cython.ulonglong, whole=Py_ssize_t)
cdef int _move(str verb, Chain m, Py_ssize_t size, int how, deadline) except -1


@cython.locals(p=Chain, n=Chain, piece=Py_ssize_t, skip=Py_ssize_t)
cdef int _fill(Chain top, Chain m, Py_ssize_t todo) except -1


@cython.locals(p=Chain, n=Chain, last=Chain, piece=Py_ssize_t, skip=Py_ssize_t)
cdef int _append_joined(Chain top, Chain m, Py_ssize_t todo, Source source, int how, deadline) except -1


@cython.locals(p=Chain, n=Chain, last=Chain, piece=Py_ssize_t, skip=Py_ssize_t)
cdef int _append_pieces(
    Chain top, Chain m, Py_ssize_t todo, Py_ssize_t size, Source source, int how, deadline
) except -1


cdef Py_ssize_t _random_size() except -1


@cython.locals(n=Chain, size=Py_ssize_t)
cdef Py_ssize_t _memory_of(Chain m) except -1


@cython.locals(rest=Py_ssize_t, last=Py_ssize_t)
cdef Py_ssize_t _memory_for(Py_ssize_t size) noexcept


@cython.locals(top=Chain, last=Chain, n=Chain, flags=cython.uint, small=cython.bint)
cdef Chain _new_chain(Source source, Py_ssize_t size, int how, deadline)


cdef void _commit_join(Chain last, Chain n) noexcept


@cython.locals(src=Chain, target=Memory, piece=Py_ssize_t)
cdef tuple _copy_into(Chain p, Py_ssize_t skip, Py_ssize_t n, Chain m)


@cython.locals(old=Chain, new=Chain)
cdef int _replace_with(Chain m, Chain top, HeaderCopy held, Py_ssize_t size) except -1


@cython.locals(made=Plan, enough=cython.bint, reserved=list)
cdef int collapse(Chain m, Py_ssize_t most, int how, deadline) except -1


@cython.locals(made=Plan)
cdef int unshare(Chain m, int how, deadline) except -1


@cython.locals(reserved=list)
cdef list _clusters(Chain m, list wants, int how, deadline)
