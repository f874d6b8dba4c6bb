# cython: annotation_typing=True
"""Somebody else's bytes, held in place for as long as they are needed.

Takes the buffer of any Python object that has one in a row, and gives it back. Never looks at the bytes.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

if cython.compiled:
    from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer


class Export(ctypes.Structure):
    """Python's Py_buffer, for the uncompiled leg."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


@cython.freelist(64)
@cython.no_gc
@cython.cclass
class Loan:
    """The buffer of `obj`: `size` bytes, for reading only when `fixed`.

    Made by `loan`. `release` gives it back, once; dropped, the loan does so itself.
    """

    __slots__ = ("_export", "fixed", "obj", "size")
    if TYPE_CHECKING:
        obj: Any
        ptr: Any
        _export: Any
        size: int
        fixed: bool

    def __init__(self) -> None:
        raise TypeError("a loan is made by loan(obj)")

    def take(self, obj: Any) -> None:
        """Take the buffer of an object; only a new loan may."""
        if cython.compiled:
            PyObject_GetBuffer(obj, cython.address(self._export), PyBUF_SIMPLE)
            self.ptr = cython.cast(cython.p_uchar, self._export.buf)
        else:
            self.obj = None
            self._export = Export()
            ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(obj), ctypes.byref(self._export), 0)
        self.size = self._export.len
        self.fixed = self._export.readonly != 0
        self.obj = obj

    def release(self) -> None:
        """Give the buffer back; nobody may look at the bytes from now on."""
        if self.obj is not None:
            self.obj = None
            if cython.compiled:
                self.ptr = cython.NULL
                PyBuffer_Release(cython.address(self._export))
            else:
                ctypes.pythonapi.PyBuffer_Release(ctypes.byref(self._export))

    def raw(self, start: cython.Py_ssize_t, size: cython.Py_ssize_t) -> Any:
        """The bytes, uncompiled. They keep the loan."""
        if cython.compiled:
            return None
        bytes_ = (ctypes.c_ubyte * size).from_address((self._export.buf or 0) + start)
        vars(bytes_)["loan"] = self
        return bytes_

    def __dealloc__(self) -> None:
        if cython.compiled and self.obj is not None:
            PyBuffer_Release(cython.address(self._export))


def loan(obj: Any) -> Loan:
    """Borrow the buffer of an object; BufferError or TypeError if it has none in one piece."""
    made: Loan = Loan.__new__(Loan)
    made.take(obj)
    return made


def _dropped(lent: Loan) -> None:
    # One that was never made has nothing to give back.
    if hasattr(lent, "obj"):
        lent.release()


if not cython.compiled:
    type.__setattr__(Loan, "__del__", _dropped)
