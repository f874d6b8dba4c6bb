cimport cython

from mbuf.packet.extpg cimport Extpg
from mbuf.packet.mbuf cimport Mbuf, show
from mbuf.packet.pages cimport loosen
from mbuf.packet.source cimport left, until
from mbuf.packet.unmapped cimport Unmapped, few_enough
from mbuf.pool.bulk cimport Bulk
from mbuf.uma.pages cimport Pages
from mbuf.vm.number cimport clip

cdef int EPG_FLAG_ANON, MT_DATA
cdef Py_ssize_t PAGE_SIZE


cdef class Paged(Bulk):
    cdef public Pages pages

    @cython.locals(m=Extpg, pages=Unmapped)
    cpdef Extpg alloc_ext_pgs(self, how=*, free=*, arg1=*, timeout=*)

    @cython.locals(size=Py_ssize_t, count=Py_ssize_t, m=Extpg)
    cpdef Extpg alloc_ext_plus_pages(self, len, how=*, timeout=*)
