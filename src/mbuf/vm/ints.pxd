cimport cython


cdef extern from "Python.h":
    Py_ssize_t PyNumber_AsSsize_t(object number, void *error) except? -1
    Py_ssize_t PyLong_AsSsize_t(object number) noexcept
    bint PyLong_CheckExact(object number) noexcept
    void *PyErr_Occurred() noexcept
    void PyErr_Clear() noexcept


@cython.locals(near=Py_ssize_t)
cpdef Py_ssize_t integer(number, str what) except? -1
cdef Py_ssize_t _converted(number, str what) except? -1
cpdef str kind_of(thing)


@cython.locals(near=Py_ssize_t)
cpdef Py_ssize_t clip(number) except? -1


@cython.locals(near=Py_ssize_t)
cpdef Py_ssize_t count(number, str what) except -1


cpdef Py_ssize_t fold(Py_ssize_t sum) noexcept
cpdef Py_ssize_t swapped(Py_ssize_t word) noexcept
