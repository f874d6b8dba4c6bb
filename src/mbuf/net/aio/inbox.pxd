cimport cython

from mbuf.net.aio.wakeup cimport Wakeup
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.streambuf cimport StreamBuffer

cdef Py_ssize_t _SMALL


cdef class Inbox:
    cdef readonly StreamBuffer _buffer
    cdef readonly bint _eof
    cdef readonly object _exception
    cdef readonly Wakeup _waiter
    cdef object _before_wait
    cdef object _quota

    @cython.locals(buffer=StreamBuffer, full=cython.bint, waiter=Wakeup)
    cpdef feed(self, Mbuf m)

    cpdef bint _must_wait(self) except -1
    cpdef _line(self, most)

    @cython.locals(waiter=Wakeup)
    cpdef Wakeup _more(self, method)
