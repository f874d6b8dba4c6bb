# The address sanitizer's functions that poison memory. They do nothing in other builds.


cdef extern from *:
    """
    #ifdef __SANITIZE_ADDRESS__
    #include <sanitizer/asan_interface.h>
    #define MBUF_ASAN 1
    #define mbuf_poison(at, size) __asan_poison_memory_region(at, size)
    #define mbuf_unpoison(at, size) __asan_unpoison_memory_region(at, size)
    #define mbuf_poisoned(at, size) (__asan_region_is_poisoned(at, size) != NULL)
    #else
    #define MBUF_ASAN 0
    #define mbuf_poison(at, size) ((void)(at))
    #define mbuf_unpoison(at, size) ((void)(at))
    #define mbuf_poisoned(at, size) ((void)(at), 0)
    #endif
    """
    # True in a build with an address sanitizer, which ends the program when poisoned bytes are touched.
    bint MBUF_ASAN
    void mbuf_poison(void *at, size_t size) noexcept nogil
    void mbuf_unpoison(void *at, size_t size) noexcept nogil
    bint mbuf_poisoned(void *at, size_t size) noexcept nogil
