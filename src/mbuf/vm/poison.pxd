from mbuf.vm.asan cimport mbuf_poison, mbuf_unpoison
from mbuf.vm.page cimport Memory


cdef inline void poison(Memory memory) noexcept:
    mbuf_poison(memory.ptr, memory.size)


cdef inline void unpoison(Memory memory) noexcept:
    mbuf_unpoison(memory.ptr, memory.size)


cpdef bint sanitized()
cpdef bint poisoned(Memory memory)
cpdef int set_poisoned(Memory memory, bint on) except -1
