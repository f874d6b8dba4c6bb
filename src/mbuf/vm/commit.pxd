cimport cython


cdef extern from *:
    """
    #ifndef MBUF_HOOKS
    #define MBUF_HOOKS 0
    #endif
    typedef struct {
        void *first;
        void *last_fresh;
        Py_ssize_t fresh;
        int depth;
        Py_ssize_t sweeps;
    } mbuf_release_list;
    static __thread mbuf_release_list mbuf_own_list __attribute__((unused, tls_model("initial-exec")));
    """
    bint MBUF_HOOKS
    ctypedef struct mbuf_release_list:
        void *first
        void *last_fresh
        Py_ssize_t fresh
        int depth
        Py_ssize_t sweeps
    # Each module that reads this file has one; only that of `commit` itself is used.
    mbuf_release_list mbuf_own_list


@cython.final
cdef class Latch:
    cdef public object hook
    cdef readonly bint is_set
    cdef readonly Py_ssize_t pending
    cdef readonly unsigned long long unlinks


cdef Latch LATCH
cdef void *_END


@cython.no_gc
cdef class Releasable:
    cdef void *_list_next

    cdef int on_release(self) except -1


cdef int _busy() except -1
cdef void _call_hook(str phase) noexcept


@cython.locals(last=Releasable)
cdef void release_later(Releasable r) noexcept
cdef void release_first(Releasable r) noexcept
cpdef bint is_listed(Releasable r) noexcept
cdef void _add_in_front(Releasable r) noexcept


@cython.locals(rest=Py_ssize_t, sweeps=Py_ssize_t, mark=cython.p_void)
cpdef _run_releases()


@cython.locals(r=Releasable)
cdef _release_one()
cdef void _end_release(Py_ssize_t rest, void *mark, Py_ssize_t sweeps) noexcept
cdef _reported(error, where)


@cython.locals(r=Releasable, count=Py_ssize_t)
cpdef run_all_releases()
cpdef bint in_commit() noexcept
cpdef bint has_listed() noexcept


@cython.locals(at=cython.p_void, count=Py_ssize_t)
cpdef _recount_pending()
cdef void run_releases_unraisable() noexcept


cdef inline int check_latch() except -1:
    if LATCH.is_set:
        _busy()
    if MBUF_HOOKS:
        _call_hook("enter")
    return 0


cdef inline void acquired() noexcept:
    if MBUF_HOOKS:
        _call_hook("acquire")


cdef inline void enter_commit() noexcept:
    LATCH.is_set = True


cdef inline void leave_commit() noexcept:
    LATCH.is_set = False


cdef inline int run_releases() except -1:
    if MBUF_HOOKS:
        _call_hook("release")
    if LATCH.pending:
        _run_releases()
    return 0
