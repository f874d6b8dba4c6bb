from mbuf.vm.asan cimport mbuf_poison, mbuf_unpoison
from mbuf.vm.arena cimport Run
from mbuf.vm.page cimport Memory


cdef inline void poison(Memory memory) noexcept:
    mbuf_poison(memory.ptr, memory.size)


cdef inline void unpoison(Memory memory) noexcept:
    mbuf_unpoison(memory.ptr, memory.size)


cdef inline void poison_run(Run run, Py_ssize_t size) noexcept:
    mbuf_poison(run.arena.ptr + run.offset, size)


cdef inline void unpoison_run(Run run, Py_ssize_t size) noexcept:
    mbuf_unpoison(run.arena.ptr + run.offset, size)


cpdef bint sanitized()
cpdef bint poisoned(Memory memory)
cpdef int set_poisoned(Memory memory, bint on) except -1
