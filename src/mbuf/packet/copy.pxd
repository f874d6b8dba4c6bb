cimport cython

from mbuf.packet.chain cimport (
    Chain,
    check_range,
    cut,
    fingerprint,
    free_chain,
    length,
    link,
    next_checked,
    own_header,
    pkthdr_of,
)
from mbuf.packet.ext cimport Storage
from mbuf.packet.header cimport (
    ROUNDS,
    HeaderCopy,
    acquire_header,
    chain_changed,
    discard_header,
    fits_header,
    give_header,
    set_copied_flags,
)
from mbuf.packet.pkthdr cimport PktHdr, add_len, copy_header, has_references, has_tags, reset_header
from mbuf.packet.segment cimport capacity, check_alive, storage_of
from mbuf.packet.source cimport Source, source_of
from mbuf.vm.commit cimport enter_commit, leave_commit, run_releases
from mbuf.vm.page cimport Memory

cdef unsigned int CSUM_SND_TAG, M_EXT, M_EXTPG, M_PKTHDR, M_RDONLY
cdef Py_ssize_t M_COPYALL, MHLEN, MINCLSIZE, MPKTHSIZE


@cython.locals(storage=Storage)
cdef int acquire_share(Chain n, Chain m) except -1


@cython.locals(made=Storage)
cdef void share(Chain n, Chain m, Py_ssize_t off, Py_ssize_t count) noexcept
cdef void share_or_copy(Chain n, Chain m, Py_ssize_t skip, Py_ssize_t count, Py_ssize_t off) noexcept


@cython.locals(storage=Storage, made=Storage)
cdef int dupcl(Chain n, Chain m) except -1


@cython.locals(n=Chain)
cdef Chain copym(Chain m, Py_ssize_t skip, Py_ssize_t count, int how, deadline)


@cython.locals(n=Chain)
cdef Chain copypacket(Chain m, int how, deadline)


@cython.locals(
    bits=cython.uint, head=cython.uint, storage=Storage, off=Py_ssize_t, size=Py_ssize_t, hdr=PktHdr, n=Chain,
    same=cython.bint,
)
cdef Chain _share_one(Chain m, Py_ssize_t skip, Py_ssize_t count, int how, deadline)


@cython.locals(
    source=Source, first=Chain, last=Chain, n=Chain, p=Chain, held=HeaderCopy, mark=cython.ulonglong,
    at=Py_ssize_t, todo=Py_ssize_t,
)
cdef Chain _duplicate(Chain m, Py_ssize_t skip, Py_ssize_t count, bint whole, int how, deadline)


@cython.locals(p=Chain, piece=Py_ssize_t)
cdef void _commit_copy(
    Chain m, Py_ssize_t skip, Py_ssize_t count, bint whole, Chain n, HeaderCopy held
) noexcept


@cython.locals(
    source=Source, first=Chain, last=Chain, n=Chain, held=HeaderCopy, hdr=PktHdr, mark=cython.ulonglong,
    todo=Py_ssize_t,
)
cdef Chain dup(Chain m, int how, deadline)
cdef void _commit_dup(Chain m, Chain n, HeaderCopy held) noexcept
cdef Chain _alloc_for(Source source, Chain m, Py_ssize_t todo, int how, deadline)
cdef int _add_pkthdr(Chain n) except -1


@cython.locals(p=Chain, target=Memory, at=Py_ssize_t, room=Py_ssize_t, piece=Py_ssize_t)
cdef int _copy_bytes(Chain n, Chain m) except -1


@cython.locals(
    source=Source, n=Chain, p=Chain, part=Chain, mark=cython.ulonglong, at=Py_ssize_t, rest=Py_ssize_t,
    head=cython.bint,
)
cdef Chain split(Chain m, Py_ssize_t keep, int how, deadline)


@cython.locals(rest=Chain)
cdef void _commit_split(
    Chain m, Py_ssize_t keep, Chain p, Py_ssize_t at, Chain n, Chain part, tag
) noexcept


@cython.locals(rest=Py_ssize_t)
cdef void move_tail(Chain n, Chain m, Py_ssize_t keep) noexcept
