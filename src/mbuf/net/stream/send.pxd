cimport cython

from mbuf.vm.buffer_export cimport BufferExport


@cython.locals(sent=Py_ssize_t)
cdef Py_ssize_t send_now(int fd, BufferExport export) except -1
