cimport cython

from mbuf.packet.content cimport Content
from mbuf.packet.pkthdr cimport PktHdr
from mbuf.vm.number cimport clip

cdef unsigned int M_COPYFLAGS, M_EXT, M_EXTPG, M_NOFREE, M_PKTHDR, M_PROTOFLAGS, M_RDONLY
cdef int M_NOWAIT
cdef unsigned int CSUM_SND_TAG
cdef Py_ssize_t MHLEN, MPKTHSIZE


@cython.no_gc
cdef class Headed(Content):
    cdef PktHdr headed(self)

    @cython.locals(hdr=PktHdr)
    cpdef Py_ssize_t fixhdr(self) except -1
    cpdef Headed demote_pkthdr(self)

    @cython.locals(hdr=PktHdr)
    cdef int behead(self) except -1

    @cython.locals(keep=Py_ssize_t, m=Headed, n=Headed)
    cpdef Headed demote(self, all=*, flags=*)

    @cython.locals(m=Headed)
    cpdef Headed clrprotoflags(self)
    cpdef Headed move_pkthdr(self, Headed from_)

    @cython.locals(spare=PktHdr, laden=cython.bint)
    cdef int receive(self, Headed from_) except -1
    cpdef Headed dup_pkthdr(self, Headed from_, how=*)

    @cython.locals(hdr=PktHdr, spare=PktHdr)
    cdef int inherit(self, Headed from_, how) except -1
    cdef int _flag(self, Headed from_) except -1

    @cython.locals(hdr=PktHdr)
    cpdef Headed tag_prepend(self, tag)
    cpdef Headed tag_unlink(self, tag)
    cpdef Headed tag_delete(self, tag)
    cpdef Headed tag_delete_chain(self, tag=*)
    cpdef Headed tag_delete_nonpersistent(self)

    @cython.locals(hdr=PktHdr)
    cpdef Headed tag_copy_chain(self, Headed from_, how=*)
    cdef _tags(self)
    cdef int _other(self, Headed from_, str verb) except -1
