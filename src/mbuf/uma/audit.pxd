cimport cython

from mbuf.uma.bucket cimport Bucket
from mbuf.uma.cache cimport Cache
from mbuf.uma.item cimport Item
from mbuf.uma.tally cimport Tally


@cython.locals(
    here=Cache, bucket=Bucket, n=cython.int, cached=Py_ssize_t, balance=cython.longlong, found=str
)
cpdef str zone_contradiction(Tally zone)


@cython.locals(n=cython.int, item=Item)
cdef str _wrong_in(Bucket bucket, Tally zone)
