# cython: annotation_typing=True
"""Bytes at an address, and views of them.

`Memory` is the bytes of one object. An `Exporter` is a part of a memory that Python sees through the buffer protocol.
Each memory counts its views. Nothing here interprets the bytes.
"""

from __future__ import annotations

import mmap
import sys
import weakref
from typing import TYPE_CHECKING, Any

from mbuf.errors import ReadOnly
from mbuf.vm.arena import Arena, Run
from mbuf.vm.buffer_export import BufferExport
from mbuf.vm.commit import Releasable

if TYPE_CHECKING:
    from mbuf.shadow import cython
elif False:  # for the compiler: a type checker needs decorators with types
    import cython
else:
    from mbuf.shadow import cython

if not cython.compiled:
    import ctypes

    from mbuf.vm.commit import enter_commit, leave_commit, release_later, run_releases_unraisable

if cython.compiled:
    from cython.cimports.cpython.buffer import (
        Py_buffer,
        PyBUF_SIMPLE,
        PyBuffer_FillInfo,
        PyBuffer_Release,
        PyObject_GetBuffer,
    )
    from cython.cimports.libc.stdint import uint32_t
    from cython.cimports.libc.string import memmove

#: References to the raw bytes of a memory without views: its own, and the argument of getrefcount.
_NO_VIEWS = 2


def compiled() -> bool:
    """True on the compiled leg."""
    return bool(cython.compiled)


@cython.no_gc
@cython.cclass
class Memory(Releasable):
    """The bytes of one object, `size` of them.

    They are part of a run (`carve`), an exported buffer (`use_export`), or the bytes of another memory (`alias`).
    `fixed` bytes are never written. The views are counted. When the last view of a `held` memory is released, the
    memory is put on the release list, and `views_gone` is called from there.
    """

    #: `gone`: the last view was released, and `views_gone` is still to be called. `state` is for the layer above.
    __slots__ = ("_watch", "exports", "fixed", "gone", "held", "raw", "run", "size", "start", "state")
    if TYPE_CHECKING:
        ptr: Any
        size: int
        fixed: bool

    def _has_bytes(self) -> bool:
        """True when this memory has bytes already."""
        if cython.compiled:
            return self.run is not None
        return getattr(self, "run", None) is not None

    def _set(self, run: Any, start: cython.Py_ssize_t, size: cython.Py_ssize_t, fixed: cython.bint) -> None:
        self.run = run
        self.size = size
        self.fixed = fixed
        self.held = False
        self.gone = False
        self.state = 0
        self.exports = 0
        if not cython.compiled:
            self.start: int = start
            self.raw: Any = run.raw(start, size)

    def carve(self, run: Any, start: cython.Py_ssize_t, size: cython.Py_ssize_t) -> None:
        """Be `size` bytes of a run, from `start`. Once only, because views may refer to these bytes from then on."""
        if self._has_bytes():
            raise IndexError("this memory is part of a run already")
        if start < 0 or size < 0 or start > run.count * mmap.PAGESIZE - size:
            raise IndexError(f"{size} bytes at {start} of {run.count} pages")
        owner: Run = run
        self._set(owner, start, size, False)
        if cython.compiled:
            arena: Arena = owner.arena
            self.ptr = arena.ptr + owner.offset + start

    def use_export(self, export: BufferExport) -> None:
        """Be the bytes of an exported buffer, until `end_export`. Once only."""
        if export is None or self._has_bytes():
            raise IndexError("there is no export, or this memory has bytes already")
        self._set(export, 0, export.size, export.fixed)
        if cython.compiled:
            self.ptr = export.ptr

    def alias(self, other: Memory) -> None:
        """Be the bytes of another memory. The caller keeps that memory alive. Once only."""
        if other is None or self._has_bytes():
            raise IndexError("there is no other memory, or this memory has bytes already")
        self._set(other.run, 0 if cython.compiled else other.start, other.size, other.fixed)
        if cython.compiled:
            self.ptr = other.ptr

    def is_contiguous(self) -> bool:
        """False if the bytes are in several places, where only `read` and `copy_scattered` find them."""
        return True

    def copy_scattered(
        self, offset: cython.Py_ssize_t, count: cython.Py_ssize_t, target: Memory, start: cython.Py_ssize_t
    ) -> None:
        """Copy bytes that are not contiguous to another memory."""
        raise NotImplementedError

    def end_export(self) -> None:
        """Release the exported buffer: this memory has no bytes any more. There must be no view of it."""
        export: BufferExport = self.run
        self.clear()
        self.run = None
        export.release()

    def clear(self) -> None:
        """Drop the pointer; the size is 0."""
        self.size = 0
        if cython.compiled:
            self.ptr = cython.NULL
        else:
            self.raw = (ctypes.c_ubyte * 0)()

    def offset_in_run(self) -> int:
        """The offset of the first byte in the run."""
        if self.run is None:
            raise IndexError("this memory is part of no run")
        if cython.compiled:
            owner: Run = self.run
            arena: Arena = owner.arena
            offset: cython.Py_ssize_t = self.ptr - arena.ptr - owner.offset
        else:
            offset = self.start
        return int(offset)

    def has_views(self) -> bool:
        """True while there are views. If `exports` is 0, there are none.

        Compiled, `exports` counts the views; uncompiled, those made since there was none.
        """
        if not cython.compiled and self.raw is not None and sys.getrefcount(self.raw) <= _NO_VIEWS:
            self.exports = 0
        return self.exports != 0

    def hold(self) -> None:
        """Have `views_gone` called after the last view is released."""
        self.held = True
        if not cython.compiled:
            # From here on, only the views keep this memory alive.
            vars(self.raw)["memory"] = self
            self._watch = weakref.ref(self.raw, self._last_view_gone)
            self.raw = None

    def views_gone(self) -> None:
        """Called from the release list after the last view of a held memory was released."""

    def release_view(self) -> None:
        """Compiled: count one view less."""
        if cython.compiled:
            self.exports -= 1
            if self.exports == 0 and self.held:
                self.held = False
                self.gone = True
                release_later(self)
                run_releases_unraisable()

    def _last_view_gone(self, _watch: object) -> None:
        self.raw = self.run.raw(self.start, self.size)
        self.held = False
        self.gone = True
        release_later(self)
        run_releases_unraisable()

    def _check(self, offset: cython.Py_ssize_t, count: cython.Py_ssize_t) -> None:
        if offset < 0 or count < 0 or offset > self.size - count:
            raise IndexError(f"{count} bytes at {offset} of {self.size}")

    def _check_free(self, offset: cython.Py_ssize_t, count: cython.Py_ssize_t) -> None:
        self._check(offset, count)
        if self.fixed and count:
            raise ReadOnly("the storage is a read-only buffer of the program")

    def read(self, offset: cython.Py_ssize_t, count: cython.Py_ssize_t) -> bytes:
        """Copy bytes out."""
        if offset < 0 or count < 0 or offset > self.size - count:
            self._check(offset, count)
        if cython.compiled:
            data: bytes = self.ptr[offset : offset + count]
            return data
        return bytes(memoryview(self.raw)[offset : offset + count])

    def write(self, offset: cython.Py_ssize_t, data: Any, skip: cython.Py_ssize_t, count: cython.Py_ssize_t) -> None:
        """Write `count` bytes of data's buffer, from its byte `skip`."""
        if cython.compiled:
            source = cython.declare(Py_buffer)
            PyObject_GetBuffer(data, cython.address(source), PyBUF_SIMPLE)
            try:
                # Only now: to export the buffer may have run user code.
                self._check_free(offset, count)
                if skip < 0 or count < 0 or skip > source.len - count:
                    raise IndexError("data is shorter than the bytes asked for")
                if count:
                    memmove(self.ptr + offset, cython.cast(cython.p_uchar, source.buf) + skip, count)
            finally:
                PyBuffer_Release(cython.address(source))
        else:
            view = memoryview(data)
            self._check_free(offset, count)
            if not view.c_contiguous:
                raise BufferError("the buffer isn't contiguous: pass bytes(data)")
            if skip < 0 or count < 0 or skip > view.nbytes - count:
                raise IndexError("data is shorter than the bytes asked for")
            memoryview(self.raw).cast("B")[offset : offset + count] = view.cast("B")[skip : skip + count]

    def move(
        self, offset: cython.Py_ssize_t, other: Memory, start: cython.Py_ssize_t, count: cython.Py_ssize_t
    ) -> None:
        """In a commit: `copy`, where both memories are contiguous and this one may be written."""
        if offset < 0 or count < 1 or start < 0 or offset > self.size - count or start > other.size - count:
            return
        if cython.compiled:
            memmove(self.ptr + offset, other.ptr + start, count)
        else:
            source = memoryview(other.raw).cast("B")
            memoryview(self.raw).cast("B")[offset : offset + count] = source[start : start + count]

    def store(
        self, offset: cython.Py_ssize_t, export: BufferExport, start: cython.Py_ssize_t, count: cython.Py_ssize_t
    ) -> None:
        """In a commit: write `count` bytes of an exported buffer; this memory may be written."""
        if offset < 0 or count < 1 or start < 0 or offset > self.size - count or start > export.size - count:
            return
        if cython.compiled:
            memmove(self.ptr + offset, export.ptr + start, count)
        else:
            memoryview(self.raw).cast("B")[offset : offset + count] = memoryview(export.raw(start, count)).cast("B")

    def copy(
        self, offset: cython.Py_ssize_t, other: Memory, start: cython.Py_ssize_t, count: cython.Py_ssize_t
    ) -> None:
        """Write `count` bytes of another memory."""
        self._check_free(offset, count)
        if not other.is_contiguous():
            other.copy_scattered(start, count, self, offset)
            return
        other._check(start, count)
        if count == 0:
            return
        if cython.compiled:
            memmove(self.ptr + offset, other.ptr + start, count)
        else:
            source = memoryview(other.raw).cast("B")
            memoryview(self.raw).cast("B")[offset : offset + count] = source[start : start + count]

    def fill(self, word: cython.uint) -> None:
        """Fill with a 32-bit word in native order, size // 4 times."""
        if cython.compiled:
            words: cython.pointer[uint32_t] = cython.cast(cython.pointer[uint32_t], self.ptr)
            i: cython.Py_ssize_t
            for i in range(self.size // 4):
                words[i] = word
        else:
            count = self.size // 4
            memoryview(self.raw).cast("B")[: count * 4] = word.to_bytes(4, sys.byteorder) * count

    def differs(self, word: cython.uint) -> int:
        """The offset of the first 32-bit word that isn't `word`, or -1."""
        if cython.compiled:
            words: cython.pointer[uint32_t] = cython.cast(cython.pointer[uint32_t], self.ptr)
            i: cython.Py_ssize_t
            for i in range(self.size // 4):
                if words[i] != word:
                    at: int = i * 4
                    return at
        else:
            whole = memoryview(self.raw).cast("B")[: self.size // 4 * 4]
            if whole != word.to_bytes(4, sys.byteorder) * (self.size // 4):
                for n, value in enumerate(whole.cast("I")):
                    if value != word:
                        return n * 4
        return -1


@cython.freelist(64)
@cython.no_gc
@cython.cclass
class ViewOwner:
    """The owner of a view (`view.obj`): when the view is released, the memory counts one view less."""

    __slots__ = ("memory",)
    if TYPE_CHECKING:
        memory: Any

    def __init__(self) -> None:
        raise TypeError("the owner of a view can't be made: use m.data")

    def __getbuffer__(self, buffer: cython.pointer[Py_buffer], flags: cython.int) -> None:
        raise BufferError("the owner of a view has no buffer of its own: use m.data")

    def __releasebuffer__(self, buffer: cython.pointer[Py_buffer]) -> None:
        memory: Memory = self.memory
        if memory is not None:
            self.memory = None
            memory.release_view()


@cython.no_gc
@cython.cclass
class Exporter(Releasable):
    """`count` bytes at `off` of the memory `buf`, which Python sees through the buffer protocol."""

    __slots__ = ("buf", "count", "off")
    if TYPE_CHECKING:
        buf: Any
        count: int
        off: int

    def before_export(self) -> bool:
        """Called before a view is made: true if it must be read-only; raises if there may be no view."""
        return False

    def __getbuffer__(self, buffer: cython.pointer[Py_buffer], flags: cython.int) -> None:
        fixed: cython.bint = self.before_export()
        memory: Memory = self.buf
        if memory is None:
            raise BufferError("this object has no bytes: it was freed")
        fixed = fixed or memory.fixed
        memory._check(self.off, self.count)
        # When the view is released, its owner tells the memory.
        owner: ViewOwner = ViewOwner.__new__(ViewOwner)
        owner.memory = memory
        PyBuffer_FillInfo(buffer, owner, memory.ptr + self.off, self.count, fixed, flags)
        memory.exports += 1

    def view(self) -> memoryview:
        """A memoryview of these bytes."""
        if cython.compiled:
            whole: Any = self
            return memoryview(whole)
        enter_commit()
        try:
            fixed = self.before_export() or self.buf.fixed
            self.buf._check(self.off, self.count)
            self.buf.exports += 1
            view = memoryview(self.buf.raw).cast("B")[self.off : self.off + self.count]
        finally:
            leave_commit()
        return view.toreadonly() if fixed else view


@cython.no_gc
@cython.cclass
class ViewExporter(Exporter):
    """An exporter for one view."""

    __slots__ = ("fixed",)
    if TYPE_CHECKING:
        fixed: bool

    def __init__(self) -> None:
        raise TypeError("a view comes from m.data or m.room")

    def before_export(self) -> bool:
        return self.fixed


def view_of(buf: Memory, off: cython.Py_ssize_t, count: cython.Py_ssize_t, fixed: cython.bint) -> memoryview:
    """A memoryview of `count` bytes at `off` of a memory; read-only if `fixed`.

    The memory counts a view before it is made, because making it may start a garbage collection, which may free the
    memory.
    """
    if buf is None:
        raise TypeError("view_of: give a memory")
    p: ViewExporter = ViewExporter.__new__(ViewExporter)
    p.buf = buf
    p.off = off
    p.count = count
    p.fixed = fixed
    if not cython.compiled:
        return p.view()
    buf.exports += 1
    try:
        return p.view()
    finally:
        buf.release_view()
        p.buf = None


if not cython.compiled and sys.version_info >= (3, 12):
    # From 3.12 on, a class written in Python can have the buffer protocol too.
    Exporter.__buffer__ = lambda self, flags: self.view()
