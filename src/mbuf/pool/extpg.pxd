cimport cython

from mbuf.packet.mbuf cimport Mbuf, call_free_routine
from mbuf.packet.pages cimport make_unmapped
from mbuf.packet.source cimport Source, seconds_left
from mbuf.packet.unmapped cimport Unmapped, check_page_count
from mbuf.uma.pages cimport Pages

cdef int EPG_FLAG_ANON, M_NOWAIT, MT_DATA
cdef Py_ssize_t MBUF_PEXT_MAX_PGS, PAGE_SIZE


@cython.locals(m=Mbuf, pages=Unmapped)
cdef Mbuf alloc_ext_pgs(Source source, Pages supply, int how, free, arg1, deadline)


@cython.locals(count=Py_ssize_t, m=Mbuf)
cdef Mbuf alloc_ext_plus_pages(Source source, Pages supply, Py_ssize_t size, int how, deadline)
