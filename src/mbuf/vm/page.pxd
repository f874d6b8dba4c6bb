cimport cython
from mbuf.vm.arena cimport Arena, Run
from mbuf.vm.commit cimport Releasable, enter_commit, leave_commit, release_later, run_releases_unraisable
from mbuf.vm.buffer_export cimport BufferExport


@cython.no_gc
cdef class Memory(Releasable):
    cdef unsigned char *ptr
    cdef readonly object run
    cdef readonly Py_ssize_t size
    cdef int exports
    cdef unsigned char held
    cdef unsigned char gone
    cdef unsigned char fixed
    cdef unsigned char state

    cdef int use_export(self, BufferExport export) except -1
    cdef int alias(self, Memory other) except -1
    cdef bint is_contiguous(self) noexcept
    cdef int copy_scattered(
        self, Py_ssize_t offset, Py_ssize_t count, Memory target, Py_ssize_t start
    ) except -1
    cdef int end_export(self) except -1
    cdef void clear(self) noexcept
    cdef bint _has_bytes(self) noexcept
    cdef int _set(self, object run, Py_ssize_t start, Py_ssize_t size, bint fixed) except -1
    cdef int _check_free(self, Py_ssize_t offset, Py_ssize_t count) except -1
    cpdef carve(self, run, Py_ssize_t start, Py_ssize_t size)
    cpdef Py_ssize_t offset_in_run(self)
    cdef bint has_views(self) noexcept
    cdef void hold(self) noexcept
    cdef int _check(self, Py_ssize_t offset, Py_ssize_t count) except -1
    cdef void views_gone(self) noexcept
    cdef void release_view(self) noexcept
    cpdef bytes read(self, Py_ssize_t offset, Py_ssize_t count)
    cpdef write(self, Py_ssize_t offset, data, Py_ssize_t skip, Py_ssize_t count)
    cpdef copy(self, Py_ssize_t offset, Memory other, Py_ssize_t start, Py_ssize_t count)
    cdef void move(self, Py_ssize_t offset, Memory other, Py_ssize_t start, Py_ssize_t count) noexcept
    cdef void store(self, Py_ssize_t offset, BufferExport export, Py_ssize_t start, Py_ssize_t count) noexcept
    cpdef fill(self, unsigned int word)
    cpdef Py_ssize_t differs(self, unsigned int word)


@cython.final
@cython.no_gc
cdef class ViewOwner:
    cdef Memory memory


@cython.no_gc
cdef class Exporter(Releasable):
    cdef Memory buf
    cdef Py_ssize_t off
    cdef Py_ssize_t count

    cdef bint before_export(self) except -1
    cdef view(self)


@cython.no_gc
cdef class ViewExporter(Exporter):
    cdef bint fixed


cpdef view_of(Memory buf, Py_ssize_t off, Py_ssize_t count, bint fixed)
