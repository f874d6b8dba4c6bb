cimport cython
from cpython.object cimport PyObject

cimport mbuf.pool.allocator as allocator

from mbuf.packet.chain cimport Chain, free_chain, release, release_chain
from mbuf.packet.mbuf cimport Mbuf, wrap_packet
from mbuf.pool.allocator cimport Allocator, ready
from mbuf.uma.item cimport Item
from mbuf.uma.zone cimport Zone, cached_item
from mbuf.vm.commit cimport enter_commit, leave_commit, run_releases

cdef unsigned char DOOMED, LIVE
cdef unsigned int _SEEN
cdef Py_ssize_t _ROOM


cdef extern from "Python.h":
    Py_ssize_t PyList_GET_SIZE(list packets)
    PyObject *PyList_GET_ITEM(list packets, Py_ssize_t n)
    int PyList_SetSlice(list packets, Py_ssize_t first, Py_ssize_t end, list others) except -1


cdef extern from *:
    """
    static inline void mbuf_swap_lists(PyObject *first, PyObject *second) {
        PyListObject *a = (PyListObject *)first, *b = (PyListObject *)second;
        PyObject **items = a->ob_item;
        Py_ssize_t count = PyList_GET_SIZE(first), room = a->allocated;
        a->ob_item = b->ob_item;
        a->allocated = b->allocated;
        Py_SET_SIZE(a, PyList_GET_SIZE(second));
        b->ob_item = items;
        b->allocated = room;
        Py_SET_SIZE(b, count);
    }
    """
    void mbuf_swap_lists(list first, list second) noexcept


cdef inline list taken(list packets):
    # To make a list may start a collection, which may change the other.
    cdef list mine = []
    mbuf_swap_lists(packets, mine)
    return mine


cdef inline int put_back(list packets, list mine) except -1:
    if PyList_GET_SIZE(packets):
        # Something was put into it meanwhile.
        PyList_SetSlice(packets, 0, 0, mine)
    else:
        mbuf_swap_lists(packets, mine)
    return 0


cdef inline Py_ssize_t singles(list packets) noexcept:
    cdef Py_ssize_t count = PyList_GET_SIZE(packets), n = 0, i
    cdef PyObject *m
    while n < count:
        m = PyList_GET_ITEM(packets, n)
        if not isinstance(<object>m, Mbuf):
            break
        if (<Mbuf>m).alive != 1 or (<Mbuf>m).bits & _SEEN or (<Mbuf>m)._next is not None:
            break
        # Listeners are called for each packet.
        if (<Mbuf>m).item.zone.probes.on:
            break
        (<Mbuf>m).bits |= _SEEN
        n += 1
    for i in range(n):
        (<Mbuf>PyList_GET_ITEM(packets, i)).bits &= ~_SEEN
    return n


@cython.locals(
    zone=Zone, item=Item, packets=list, m=Mbuf, n=Py_ssize_t, room=Py_ssize_t, packet=cython.bint
)
cdef list getjcl_bulk(
    Allocator a, Py_ssize_t count, int how, int type, unsigned int flags, Py_ssize_t size, deadline
)


@cython.locals(bad=Py_ssize_t)
cdef int free_bulk(list packets) except -1


@cython.locals(count=Py_ssize_t, n=Py_ssize_t, lost=Py_ssize_t, m=Mbuf)
cdef int _free(list packets) except -1


@cython.locals(n=Py_ssize_t, lost=Py_ssize_t, m=Mbuf)
cdef int _free_singles(list packets) except -1
cdef _lost(Py_ssize_t lost, Py_ssize_t count)


@cython.locals(count=Py_ssize_t, n=Py_ssize_t, marked=Py_ssize_t, i=Py_ssize_t)
cdef Py_ssize_t _look(list packets) noexcept


cdef bint _mark(Chain m) noexcept


cdef void _unmark(Chain m) noexcept
