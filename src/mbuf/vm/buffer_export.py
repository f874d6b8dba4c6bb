# cython: annotation_typing=True
"""Buffers of Python objects, exported through the buffer protocol.

While a buffer is exported, its bytes stay at their address. Takes any contiguous buffer. Never reads the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.vm.ints import kind_of

if cython.compiled:
    from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBuffer_Release
    from cython.cimports.mbuf.vm.buffer_export import (
        PyErr_Clear,
        PyObject_CheckBuffer,
        PyObject_GetBuffer,
        references,
    )

if not cython.compiled:
    import ctypes

    class _PyBuffer(ctypes.Structure):
        """The C struct Py_buffer, for the uncompiled leg."""

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


def _refuse(obj: Any) -> int:
    """Raise the error of an object whose buffer can't be exported."""
    if cython.compiled:
        if PyObject_CheckBuffer(obj):
            # Its own error is set, and passes.
            return -1
        PyErr_Clear()
    hint = ": encode it first" if isinstance(obj, str) else ""
    raise TypeError(f"give bytes, or another object that has a buffer, not {kind_of(obj)}{hint}")


@cython.freelist(64)
@cython.no_gc
@cython.cclass
class BufferExport:
    """The exported buffer of `obj`: `size` bytes, read-only if `fixed`.

    `export_buffer` makes one, and `release` ends the export. An export that is dropped is released too.
    """

    __slots__ = ("_export", "fixed", "obj", "size")
    if TYPE_CHECKING:
        obj: Any
        ptr: Any
        _export: Any
        size: int
        fixed: bool

    def __init__(self) -> None:
        raise TypeError("call export_buffer(obj) to export a buffer")

    def take(self, obj: Any) -> None:
        """Take the buffer of an object; called once."""
        if cython.compiled:
            if PyObject_GetBuffer(obj, cython.address(self._export), PyBUF_SIMPLE) < 0:
                _refuse(obj)
            self.ptr = cython.cast(cython.p_uchar, self._export.buf)
        else:
            self.obj = None
            self._export = _PyBuffer()
            if not ctypes.pythonapi.PyObject_CheckBuffer(ctypes.py_object(obj)):
                _refuse(obj)
            ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(obj), ctypes.byref(self._export), 0)
        self.size = self._export.len
        self.fixed = self._export.readonly != 0
        self.obj = obj

    def release(self) -> None:
        """End the export: from now on the bytes may not be touched. Calling it again has no effect."""
        if self.obj is not None:
            self.obj = None
            if cython.compiled:
                self.ptr = cython.NULL
                PyBuffer_Release(cython.address(self._export))
                SPARE.export = self
            else:
                ctypes.pythonapi.PyBuffer_Release(ctypes.byref(self._export))

    def raw(self, start: cython.Py_ssize_t, size: cython.Py_ssize_t) -> Any:
        """Uncompiled, some of the bytes, as an object that keeps the export."""
        if cython.compiled:
            return None
        bytes_ = (ctypes.c_ubyte * size).from_address((self._export.buf or 0) + start)
        vars(bytes_)["export"] = self
        return bytes_

    def __dealloc__(self) -> None:
        if cython.compiled and self.obj is not None:
            PyBuffer_Release(cython.address(self._export))


@cython.cclass
class Spare:
    """The export that was released last. To use it again is faster than a new one; uncompiled, there is none."""

    __slots__ = ("export",)

    def __init__(self) -> None:
        self.export: Any = None

    def take(self) -> BufferExport | None:
        """The export, if nothing else refers to it."""
        export: BufferExport = self.export
        # Two references: from here, and from `export`.
        if cython.compiled and export is not None and references(export) == 2:
            self.export = None
            return export
        return None


SPARE = Spare()


def export_buffer(obj: Any) -> BufferExport:
    """Export the buffer of an object; BufferError or TypeError if it has no contiguous buffer."""
    made: Any = SPARE.take()
    if made is None:
        made = BufferExport.__new__(BufferExport)
    export: BufferExport = made
    export.take(obj)
    return export


def _dropped(export: BufferExport) -> None:
    # One that `take` never filled holds no buffer.
    if hasattr(export, "obj"):
        export.release()


if not cython.compiled:

    def has_buffer(obj: Any) -> bool:
        """True if the object has the buffer protocol. No code of the object runs."""
        return bool(ctypes.pythonapi.PyObject_CheckBuffer(ctypes.py_object(obj)))

    type.__setattr__(BufferExport, "__del__", _dropped)
