cimport cython

cdef Py_ssize_t PAGE_SIZE


@cython.final
@cython.no_gc
cdef class Epg:
    cdef public bytes hdr
    cdef public bytes trail
    cdef public object so
    cdef tuple numbers
    cdef Py_ssize_t first
    cdef readonly unsigned char npgs
    cdef public unsigned long long seqno
    cdef public Py_ssize_t enc_cnt
    cdef public Py_ssize_t ext_size
    cdef public unsigned short first_off
    cdef public unsigned short last_len
    cdef public unsigned char nrdy
    cdef public unsigned char flags
    cdef public unsigned char record_type

    cdef int reset(self) except -1
    cdef int set_pages(self, tuple pages) except -1
    cdef int set_run(self, Py_ssize_t first, Py_ssize_t count) except -1
    cdef Py_ssize_t number(self, Py_ssize_t page) except -1
    cpdef Py_ssize_t pagelen(self, Py_ssize_t page) except -1

    @cython.locals(count=Py_ssize_t, page=Py_ssize_t)
    cpdef Py_ssize_t total(self) except -1
    cdef Py_ssize_t frags(self) except -1

    @cython.locals(
        found=list, pages=Py_ssize_t, page=Py_ssize_t, start=Py_ssize_t, there=Py_ssize_t, n=Py_ssize_t
    )
    cdef list spans(self, Py_ssize_t off, Py_ssize_t count)
    cdef int copy(self, Epg other) except -1


@cython.locals(epg=Epg)
cpdef Epg new_epg()
