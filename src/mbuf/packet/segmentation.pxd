cimport cython

from mbuf.packet.chain cimport (
    Chain,
    cut,
    fingerprint,
    free_chain,
    link,
    next_checked,
    own_header,
    pkthdr_of,
)
from mbuf.packet.copy cimport acquire_share, share_or_copy
from mbuf.packet.ext cimport Storage
from mbuf.packet.header cimport ROUNDS, chain_changed
from mbuf.packet.pkthdr cimport PktHdr, copy_header
from mbuf.packet.segment cimport start
from mbuf.packet.source cimport Source, source_of
from mbuf.vm.commit cimport enter_commit, leave_commit, run_releases

cdef unsigned int CSUM_SND_TAG, M_COPYFLAGS, M_EXT, M_EXTPG, M_NOFREE, M_PKTHDR, M_RDONLY
cdef Py_ssize_t MHLEN, MPKTHSIZE


@cython.locals(
    spare=Chain, hdr=PktHdr, mark=cython.ulonglong, need=Py_ssize_t, count=Py_ssize_t, taken=Py_ssize_t,
    done=cython.bint, packets=list,
)
cdef list segment(Chain m, Py_ssize_t size, int how, deadline)


@cython.locals(n=Chain, total=Py_ssize_t)
cdef Py_ssize_t _bytes(Chain m) noexcept


@cython.locals(
    n=Chain, need=Py_ssize_t, total=Py_ssize_t, room=Py_ssize_t, count=Py_ssize_t, at=Py_ssize_t,
    piece=Py_ssize_t,
)
cdef Py_ssize_t _count_new(Chain m, Py_ssize_t size) except -1
cdef Py_ssize_t _new_at(Chain m, Py_ssize_t at, Py_ssize_t piece) noexcept


@cython.locals(n=Chain, unmapped=cython.bint, room=Py_ssize_t, last=Py_ssize_t)
cdef int _prepare(Chain m, Py_ssize_t size, Chain spare) except -1


@cython.locals(n=Chain, s=Chain, room=Py_ssize_t, at=Py_ssize_t, piece=Py_ssize_t)
cdef int _prepare_shares(Chain m, Py_ssize_t size, Chain spare) except -1


@cython.locals(
    hdr=PktHdr, bits=cython.uint, k=Py_ssize_t, top=Chain, last=Chain, n=Chain, rest=Chain,
    room=Py_ssize_t, todo=Py_ssize_t, whole=Py_ssize_t, at=Py_ssize_t, piece=Py_ssize_t, mapped=cython.bint,
    storage=Storage,
)
cdef void _divide(Chain m, Py_ssize_t size, Chain spare, list packets) noexcept


@cython.locals(hdr=PktHdr)
cdef void init_pkthdr_like(Chain m, PktHdr like, Py_ssize_t size, unsigned int bits) noexcept
