cimport cython

from mbuf.uma.bucket cimport Bucket
from mbuf.uma.budget cimport Budget
from mbuf.uma.cache cimport Cache
from mbuf.uma.item cimport Item, is_out
from mbuf.uma.keg cimport Keg
from mbuf.uma.slab cimport Slab, Slabs
from mbuf.uma.counters cimport Counters
from mbuf.vm.commit cimport enter_commit, is_listed, leave_commit


cpdef audit_zone(Counters zone)
cpdef audit_budget(Budget budget)
cpdef list audit_keg(Keg keg)


@cython.locals(
    zone=Counters, here=Cache, bucket=Bucket, keg=Keg, slab=Slab, n=cython.int, now=Py_ssize_t,
    free=Py_ssize_t, count=Py_ssize_t
)
cpdef list after_taking_back(tuple zones, tuple kegs, tuple used)


@cython.locals(n=cython.int, item=Item)
cdef int _count_slabs(Bucket bucket, dict counts) except -1


@cython.locals(
    here=Cache, bucket=Bucket, n=cython.int, cached=Py_ssize_t, balance=cython.longlong, found=str
)
cdef str _wrong_with(Counters zone)


@cython.locals(n=cython.int, item=Item)
cdef str _wrong_in(Bucket bucket, Counters zone)


@cython.locals(slab=Slab, slabs=Slabs, free=Py_ssize_t, count=Py_ssize_t)
cdef str _wrong_slabs(Keg keg, list runs)
