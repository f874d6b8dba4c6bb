cimport cython

from mbuf.packet.chain cimport Chain, header_shared, last_of, length, next_checked, pkthdr_of
from mbuf.packet.pkthdr cimport PktHdr, copy_header, has_references, reset_header
from mbuf.packet.segment cimport check_alive
from mbuf.packet.tag cimport TagList
from mbuf.vm.commit cimport enter_commit, leave_commit, release_later, run_releases

cdef unsigned int CSUM_SND_TAG, M_COPYFLAGS, M_EXT, M_EXTPG, M_NOFREE, M_PKTHDR, M_PROTOFLAGS, M_RDONLY
cdef Py_ssize_t MHLEN, MPKTHSIZE
cdef int ROUNDS


@cython.final
cdef class HeaderCopy:
    cdef object snd_tag
    cdef TagList source
    cdef TagList tags
    cdef Py_ssize_t stamp


@cython.locals(made=HeaderCopy, source=TagList)
cdef HeaderCopy acquire_header(HeaderCopy held, PktHdr hdr, int how)
cdef bint fits_header(HeaderCopy held, PktHdr hdr) noexcept


@cython.locals(tags=TagList)
cdef int discard_header(HeaderCopy held) except -1


@cython.locals(hdr=PktHdr)
cdef void give_header(Chain m, HeaderCopy held, Chain like) noexcept
cdef void set_copied_flags(Chain m, Chain like) noexcept


@cython.locals(hdr=PktHdr)
cdef void drop_header(Chain m) noexcept


@cython.locals(spare=PktHdr, had=cython.bint, shared=cython.bint)
cdef void move_header(Chain m, Chain from_) noexcept
cdef int check_header_source(Chain m, Chain from_, str verb) except -1


@cython.locals(hdr=PktHdr)
cdef Py_ssize_t fixhdr(Chain m) except -1
cdef int demote_pkthdr(Chain m) except -1


@cython.locals(first=Chain, n=Chain)
cdef int demote(Chain m, bint all, unsigned int keep) except -1
cdef void demote_all(Chain m, unsigned int keep) noexcept


@cython.locals(n=Chain)
cdef int clrprotoflags(Chain m) except -1
cdef int move_pkthdr(Chain m, Chain from_) except -1


@cython.locals(held=HeaderCopy, fresh=PktHdr, spare=PktHdr, had=cython.bint)
cdef int dup_pkthdr(Chain m, Chain from_, int how) except -1


@cython.locals(hdr=PktHdr)
cdef PktHdr new_header()
cdef chain_changed(str verb)


@cython.locals(tags=TagList)
cdef tuple tags_of(Chain m)


@cython.locals(hdr=PktHdr, tags=TagList)
cdef int tag_prepend(Chain m, t) except -1


@cython.locals(hdr=PktHdr, tags=TagList, theirs=TagList, before=TagList)
cdef int tag_copy_chain(Chain m, Chain from_, int how) except -1
cdef TagList tags_or_empty(Chain m)
