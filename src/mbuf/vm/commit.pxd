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
    cdef readonly bint up
    cdef readonly Py_ssize_t pending
    cdef readonly unsigned long long cuts


cdef Latch LATCH
cdef void *_END


@cython.no_gc
cdef class Releasable:
    cdef void *_behind

    cdef int let_go(self) except -1


cdef int _busy() except -1
cdef void _border(str phase) noexcept


@cython.locals(last=Releasable)
cdef void put(Releasable r) noexcept
cdef void put_first(Releasable r) noexcept
cpdef bint is_listed(Releasable r) noexcept
cdef void _put_in_front(Releasable r) noexcept


@cython.locals(rest=Py_ssize_t, sweeps=Py_ssize_t, mark=cython.p_void)
cpdef work_off()


@cython.locals(r=Releasable)
cdef _let_first_go()
cdef _reported(error, where)


@cython.locals(r=Releasable, count=Py_ssize_t)
cpdef work_off_all()
cpdef bint inside() noexcept
cpdef bint has_listed() noexcept


@cython.locals(at=cython.p_void, count=Py_ssize_t)
cpdef _recount()
cdef void finish_drop() noexcept


cdef inline int check_latch() except -1:
    if LATCH.up:
        _busy()
    if MBUF_HOOKS:
        _border("enter")
    return 0


cdef inline void acquired() noexcept:
    if MBUF_HOOKS:
        _border("acquire")


cdef inline void enter_commit() noexcept:
    LATCH.up = True


cdef inline void leave_commit() noexcept:
    LATCH.up = False


cdef inline int settle() except -1:
    if MBUF_HOOKS:
        _border("release")
    if LATCH.pending:
        work_off()
    return 0
