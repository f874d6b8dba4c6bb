cimport cython

from mbuf.packet.pkthdr cimport has_references
from mbuf.packet.chain cimport (
    Chain,
    cut,
    fingerprint,
    free_chain,
    length,
    link,
    next_checked,
    pkthdr_of,
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
from mbuf.packet.segment cimport check_alive
from mbuf.packet.source cimport Source, source_of
from mbuf.packet.trim cimport join
from mbuf.vm.commit cimport enter_commit, leave_commit, run_releases
from mbuf.vm.page cimport Memory

cdef unsigned int M_PKTHDR
cdef int MT_DATA
cdef Py_ssize_t MCLBYTES, MHLEN, MLEN


@cython.locals(
    held=HeaderCopy, top=Chain, last=Chain, n=Chain, p=Chain, source=Source, mark=cython.ulonglong,
    todo=Py_ssize_t, whole=Py_ssize_t, piece=Py_ssize_t, skip=Py_ssize_t,
)
cdef int defrag(Chain m, int how, deadline) except -1


cdef void _commit_join(Chain last, Chain n) noexcept


@cython.locals(src=Chain, target=Memory, piece=Py_ssize_t)
cdef tuple _copy_into(Chain p, Py_ssize_t skip, Py_ssize_t n, Chain m)


@cython.locals(old=Chain, new=Chain)
cdef int _replace_with(Chain m, Chain top, HeaderCopy held, Py_ssize_t size) except -1


@cython.locals(
    held=HeaderCopy, top=Chain, last=Chain, n=Chain, p=Chain, source=Source, mark=cython.ulonglong,
    todo=Py_ssize_t, whole=Py_ssize_t, piece=Py_ssize_t, skip=Py_ssize_t,
)
cdef int fragment(Chain m, Py_ssize_t size, int how, deadline) except -1


@cython.locals(made=Plan, enough=cython.bint, reserved=list)
cdef int collapse(Chain m, Py_ssize_t most, int how, deadline) except -1


@cython.locals(made=Plan)
cdef int unshare(Chain m, int how, deadline) except -1


@cython.locals(reserved=list)
cdef list _clusters(Chain m, list wants, int how, deadline)
