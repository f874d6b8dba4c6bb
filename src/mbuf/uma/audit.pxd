cimport cython

from mbuf.uma.bucket cimport Bucket
from mbuf.uma.cache cimport Cache
from mbuf.uma.item cimport Item, is_out
from mbuf.uma.keg cimport Keg
from mbuf.uma.slab cimport Slab, Slabs
from mbuf.uma.counters cimport Counters
from mbuf.vm.commit cimport enter_commit, is_listed, leave_commit


cpdef audit_zone(Counters zone)
cpdef list audit_keg(Keg keg)


@cython.locals(
    here=Cache, bucket=Bucket, n=cython.int, cached=Py_ssize_t, balance=cython.longlong, found=str
)
cdef str _wrong_with(Counters zone)


@cython.locals(n=cython.int, item=Item)
cdef str _wrong_in(Bucket bucket, Counters zone)


@cython.locals(slab=Slab, slabs=Slabs, free=Py_ssize_t, count=Py_ssize_t)
cdef str _wrong_slabs(Keg keg, list runs)
