cimport cython

from mbuf.packet.chain cimport (
    Chain,
    cut,
    free_chain,
    link,
    next_checked,
    release,
    release_chain,
)
from mbuf.packet.copy cimport acquire_share, share
from mbuf.packet.header cimport ROUNDS, chain_changed, demote_all
from mbuf.packet.watermarks cimport Watermarks
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.read cimport excerpt, views, views_of
from mbuf.packet.segment cimport check_alive, space, storage_of, taken
from mbuf.packet.source cimport source_of
from mbuf.vm.commit cimport LATCH, Latch, check_latch, enter_commit, leave_commit, release_later, run_releases
from mbuf.vm.ints cimport integer

cdef unsigned int M_EXT, M_EXTPG, M_NOFREE, M_NOTREADY, M_RDONLY, _KEPT
cdef int M_NOWAIT
cdef Py_ssize_t MCLBYTES, MLEN, MSIZE


cdef class SockBuf(Watermarks):
    cdef readonly Py_ssize_t mcnt
    cdef readonly Py_ssize_t ccnt
    cdef Mbuf _first
    cdef Mbuf _last
    cdef unsigned long long _unlinks
    cdef Py_ssize_t _partial
    cdef unsigned long long _removals

    @cython.locals(rest=Mbuf, n=Mbuf, checked=cython.bint)
    cpdef append(self, Mbuf m, check_full=*)

    @cython.locals(total=Py_ssize_t, n=Chain)
    cdef Py_ssize_t check_append(self, Mbuf m) except -1

    @cython.locals(last=Mbuf, m=Mbuf, n=Mbuf, gone=Mbuf, before=Py_ssize_t)
    cdef int _refresh(self) except -1

    @cython.locals(last=Mbuf, more=Py_ssize_t)
    cdef void _add(self, Mbuf m) noexcept
    cdef bint _fits(self, Mbuf last, Mbuf m) noexcept
    cdef void _account(self, Mbuf m, Py_ssize_t sign) noexcept

    @cython.locals(size=Py_ssize_t)
    cpdef drop(self, n)

    @cython.locals(left=Py_ssize_t, m=Mbuf, rest=Mbuf)
    cdef discard(self, Py_ssize_t size)

    @cython.locals(m=Mbuf, rest=Chain)
    cdef Mbuf _pop(self)

    @cython.locals(asked=Py_ssize_t, size=Py_ssize_t, head=Mbuf)
    cpdef Mbuf take(self, n)

    @cython.locals(
        removals="unsigned long long", left=Py_ssize_t, m=Mbuf, piece=Mbuf, head=Mbuf, same=cython.bint
    )
    cdef Mbuf try_take(self, Py_ssize_t size)

    @cython.locals(left=Py_ssize_t, m=Mbuf)
    cdef Mbuf _find_end(self, Py_ssize_t size)

    @cython.locals(head=Mbuf, last=Mbuf, m=Mbuf, end=Mbuf, left=Py_ssize_t)
    cdef Mbuf _detach_front(self, Py_ssize_t size, Mbuf piece)

    @cython.locals(rest=Py_ssize_t, whole=cython.bint, after=Mbuf)
    cdef Mbuf _split_first(self, Mbuf m, Mbuf piece, Py_ssize_t left)

    @cython.locals(most=Py_ssize_t, size=Py_ssize_t)
    cpdef bytes peek(self, n)

    cpdef list views(self, Py_ssize_t count, Py_ssize_t size)

    @cython.locals(m=Mbuf)
    cpdef clear(self)
    cdef Py_ssize_t check_size(self, Py_ssize_t size, str verb) except -1
    cdef int before_drop(self, Py_ssize_t size) except -1
