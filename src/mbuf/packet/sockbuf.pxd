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
from mbuf.packet.header cimport ROUNDS, changing, demote_all
from mbuf.packet.watermarks cimport Watermarks
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.read cimport excerpt, pieces, views
from mbuf.packet.segment cimport check_alive, space, store, taken, writable
from mbuf.packet.source cimport origin
from mbuf.vm.commit cimport LATCH, Latch, check_latch, enter_commit, leave_commit, put
from mbuf.vm.commit cimport settle as settle_list
from mbuf.vm.ints cimport clip
from mbuf.vm.page cimport pane

cdef unsigned int M_EXT, M_EXTPG, M_NOFREE, M_NOTREADY, M_RDONLY, _KEPT
cdef int M_NOWAIT
cdef Py_ssize_t MCLBYTES, MLEN, MSIZE


cdef class SockBuf(Watermarks):
    cdef readonly Py_ssize_t mcnt
    cdef readonly Py_ssize_t ccnt
    cdef Mbuf _first
    cdef Mbuf _last
    cdef unsigned long long _cuts
    cdef Py_ssize_t _into

    @cython.locals(rest=Mbuf, n=Mbuf, ending=cython.bint)
    cpdef append(self, Mbuf m, settle=*)

    @cython.locals(total=Py_ssize_t, n=Chain)
    cdef Py_ssize_t admit(self, Mbuf m) except -1

    @cython.locals(last=Mbuf, m=Mbuf, n=Mbuf, gone=Mbuf, before=Py_ssize_t)
    cdef int _look(self) except -1

    @cython.locals(last=Mbuf, more=Py_ssize_t)
    cdef void _add(self, Mbuf m) noexcept
    cdef bint _fits(self, Mbuf last, Mbuf m) noexcept
    cdef void _charge(self, Mbuf m, Py_ssize_t sign) noexcept

    @cython.locals(size=Py_ssize_t, left=Py_ssize_t, m=Mbuf, rest=Mbuf)
    cpdef drop(self, n)

    @cython.locals(m=Mbuf, rest=Chain)
    cdef Mbuf _pop(self)

    @cython.locals(
        asked=Py_ssize_t, size=Py_ssize_t, left=Py_ssize_t, m=Mbuf, first=Mbuf, piece=Mbuf, head=Mbuf,
        same=cython.bint,
    )
    cpdef Mbuf take(self, n)

    @cython.locals(left=Py_ssize_t, m=Mbuf)
    cdef Mbuf _reached(self, Py_ssize_t size)

    @cython.locals(head=Mbuf, last=Mbuf, m=Mbuf, end=Mbuf, left=Py_ssize_t)
    cdef Mbuf _take_out(self, Py_ssize_t size, Mbuf piece)

    @cython.locals(rest=Py_ssize_t, whole=cython.bint, after=Mbuf)
    cdef Mbuf _cut(self, Mbuf m, Mbuf piece, Py_ssize_t left)

    @cython.locals(most=Py_ssize_t, size=Py_ssize_t)
    cpdef bytes peek(self, n)

    cpdef list views(self, Py_ssize_t count, Py_ssize_t size)

    @cython.locals(m=Mbuf)
    cpdef clear(self)
    cdef Py_ssize_t within(self, Py_ssize_t size, str verb) except -1
    cdef int gone(self, Py_ssize_t size) except -1


@cython.locals(found=list, left=Py_ssize_t, n=Mbuf)
cpdef list views_of(Mbuf m, Py_ssize_t count, Py_ssize_t size)
