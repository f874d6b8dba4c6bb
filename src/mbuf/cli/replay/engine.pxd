cimport cython

from mbuf.net.capture.pcap cimport Records
from mbuf.cli.replay.rxring cimport RxRings
from mbuf.packet.mbuf cimport Mbuf
from mbuf.cli.replay.clock cimport CaptureClock
from mbuf.cli.replay.consumer cimport Consumer
from mbuf.cli.replay.sockbufs cimport SockBufs


cdef class Replay:
    cdef object _cpus
    cdef Py_ssize_t _queues
    cdef CaptureClock _clock
    cdef RxRings _rings
    cdef SockBufs _sockbufs
    cdef Consumer _consumer
    cdef object _highwater
    cdef Py_ssize_t _peak_size
    cdef long long _updated
    cdef readonly long long packets
    cdef readonly long long bytes
    cdef readonly long long dropped
    cdef object _first_drop
    cdef object _first_denial

    @cython.locals(
        clock=CaptureClock,
        rings=RxRings,
        sockbufs=SockBufs,
        consumer=Consumer,
        before=cython.longlong,
        now=cython.longlong,
        length=cython.longlong,
        start=Py_ssize_t,
        captured=Py_ssize_t,
        queue=Py_ssize_t,
        cpu=Py_ssize_t,
        m=Mbuf,
    )
    cpdef play(self, Records records, flow=*)
