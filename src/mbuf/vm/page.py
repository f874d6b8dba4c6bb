# cython: annotation_typing=True
"""Bytes at an address.

`Memory` is the bytes of one thing, and a `Window` a stretch of memory that Python can look at. Whoever looks
is counted, in the memory. Never knows what the bytes mean.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import weakref
from typing import TYPE_CHECKING, Any

from mbuf.errors import ReadOnly
from mbuf.vm.arena import Arena, Run
from mbuf.vm.commit import Releasable
from mbuf.vm.loan import Loan

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

if not cython.compiled:
    from mbuf.vm.commit import enter_commit, finish_drop, leave_commit, put

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

#: References to the raw bytes of a memory that nobody looks at: its own, and the argument of getrefcount.
_UNWATCHED = 2


def compiled() -> bool:
    """True on the compiled leg."""
    return bool(cython.compiled)


@cython.no_gc
@cython.cclass
class Memory(Releasable):
    """The bytes of one thing, `size` of them.

    They are part of a run, or on loan from somebody, or those of another memory; `fixed` ones are never
    written. Views of them are counted; when the last one goes from a memory that is `held`, it is put on the release
    list, which then calls `views_gone`.
    """

    #: `gone`: the last view has gone, which is still to be handled. `state` is for the layer above, 0 at first.
    __slots__ = ("_watch", "exports", "fixed", "gone", "held", "raw", "run", "size", "start", "state")
    if TYPE_CHECKING:
        ptr: Any
        size: int
        fixed: bool

    def _taken(self) -> bool:
        """True when this has bytes already."""
        if cython.compiled:
            return self.run is not None
        return getattr(self, "run", None) is not None

    def _be(self, run: Any, start: cython.Py_ssize_t, size: cython.Py_ssize_t, fixed: cython.bint) -> None:
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
        """Be `size` bytes of the run, from `start`; once, for views may name these bytes from then on."""
        if self._taken():
            raise IndexError("this memory is part of a run already")
        if start < 0 or size < 0 or start > run.count * mmap.PAGESIZE - size:
            raise IndexError(f"{size} bytes at {start} of {run.count} pages")
        owner: Run = run
        self._be(owner, start, size, False)
        if cython.compiled:
            arena: Arena = owner.arena
            self.ptr = arena.ptr + owner.offset + start

    def borrow(self, loan: Loan) -> None:
        """Be the bytes of a loan, until `give_back`; once."""
        if loan is None or self._taken():
            raise IndexError("there is no loan, or this memory is somebody's already")
        self._be(loan, 0, loan.size, loan.fixed)
        if cython.compiled:
            self.ptr = loan.ptr

    def mirror(self, other: Memory) -> None:
        """Be the bytes of another memory, which its owner keeps for as long; once."""
        if other is None or self._taken():
            raise IndexError("there is no other memory, or this memory is somebody's already")
        self._be(other.run, 0 if cython.compiled else other.start, other.size, other.fixed)
        if cython.compiled:
            self.ptr = other.ptr

    def is_contiguous(self) -> bool:
        """False for bytes that lie here and there, which only `read` and `copy_scattered` find."""
        return True

    def copy_scattered(
        self, offset: cython.Py_ssize_t, count: cython.Py_ssize_t, target: Memory, start: cython.Py_ssize_t
    ) -> None:
        """Copy bytes that don't lie in a row to another memory."""
        raise NotImplementedError

    def give_back(self) -> None:
        """End the loan: there are no bytes any more. Nobody may be looking at them."""
        loan: Loan = self.run
        self.clear()
        self.run = None
        loan.release()

    def clear(self) -> None:
        """Be no bytes in a row."""
        self.size = 0
        if cython.compiled:
            self.ptr = cython.NULL
        else:
            self.raw = (ctypes.c_ubyte * 0)()

    def place(self) -> int:
        """The offset in the run."""
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
        """True while somebody looks at the bytes; nobody does if `exports` is 0.

        Compiled, `exports` counts the views there are; uncompiled, those made since nobody looked.
        """
        if not cython.compiled and self.raw is not None and sys.getrefcount(self.raw) <= _UNWATCHED:
            self.exports = 0
        return self.exports != 0

    def hold(self) -> None:
        """Ask for `views_gone` to be called when the last view goes."""
        self.held = True
        if not cython.compiled:
            # From here on the bytes keep this alive, as nobody else may.
            vars(self.raw)["memory"] = self
            self._watch = weakref.ref(self.raw, self._last_view_gone)
            self.raw = None

    def views_gone(self) -> None:
        """The last view of held memory has gone."""

    def release_view(self) -> None:
        """Compiled: one looks less, of those whom `exports` counts."""
        self.exports -= 1
        if self.exports == 0 and self.held:
            self.held = False
            self.gone = True
            put(self)
            finish_drop()

    def _last_view_gone(self, _watch: object) -> None:
        self.raw = self.run.raw(self.start, self.size)
        self.held = False
        self.gone = True
        put(self)
        finish_drop()

    def _check(self, offset: cython.Py_ssize_t, count: cython.Py_ssize_t) -> None:
        if offset < 0 or count < 0 or offset > self.size - count:
            raise IndexError(f"{count} bytes at {offset} of {self.size}")

    def _check_free(self, offset: cython.Py_ssize_t, count: cython.Py_ssize_t) -> None:
        self._check(offset, count)
        if self.fixed and count:
            raise ReadOnly("the storage is memory of somebody who lent it for reading only")

    def read(self, offset: cython.Py_ssize_t, count: cython.Py_ssize_t) -> bytes:
        """Copy bytes out."""
        self._check(offset, count)
        if cython.compiled:
            data: bytes = self.ptr[offset : offset + count]
            return data
        return bytes(memoryview(self.raw)[offset : offset + count])

    def write(self, offset: cython.Py_ssize_t, data: Any, skip: cython.Py_ssize_t, count: cython.Py_ssize_t) -> None:
        """Copy `count` bytes of data's buffer in, from its byte `skip`."""
        self._check_free(offset, count)
        if cython.compiled:
            source = cython.declare(Py_buffer)
            PyObject_GetBuffer(data, cython.address(source), PyBUF_SIMPLE)
            if skip < 0 or count < 0 or skip > source.len - count:
                PyBuffer_Release(cython.address(source))
                raise IndexError("data is shorter than the bytes asked for")
            if count:
                memmove(self.ptr + offset, cython.cast(cython.p_uchar, source.buf) + skip, count)
            PyBuffer_Release(cython.address(source))
        else:
            view = memoryview(data)
            if not view.c_contiguous:
                raise BufferError("the bytes don't lie in a row: pass bytes(data)")
            if skip < 0 or count < 0 or skip > view.nbytes - count:
                raise IndexError("data is shorter than the bytes asked for")
            memoryview(self.raw).cast("B")[offset : offset + count] = view.cast("B")[skip : skip + count]

    def fit(self, offset: cython.Py_ssize_t, room: cython.Py_ssize_t, data: Any) -> int:
        """Copy all of data's buffer in if it has at most `room` bytes; how many it has."""
        self._check_free(offset, room)
        if cython.compiled:
            source = cython.declare(Py_buffer)
            PyObject_GetBuffer(data, cython.address(source), PyBUF_SIMPLE)
            size: cython.Py_ssize_t = source.len
            if 0 < size <= room:
                memmove(self.ptr + offset, source.buf, size)
            PyBuffer_Release(cython.address(source))
        else:
            view = memoryview(data)
            if not view.c_contiguous:
                raise BufferError("the bytes don't lie in a row: pass bytes(data)")
            size = view.nbytes
            if size <= room:
                memoryview(self.raw).cast("B")[offset : offset + size] = view.cast("B")
        return int(size)

    def move(
        self, offset: cython.Py_ssize_t, other: Memory, start: cython.Py_ssize_t, count: cython.Py_ssize_t
    ) -> None:
        """As `copy`, in a commit (noexcept), of bytes that are there, both in a row, and may be written."""
        if offset < 0 or count < 1 or start < 0 or offset > self.size - count or start > other.size - count:
            return
        if cython.compiled:
            memmove(self.ptr + offset, other.ptr + start, count)
        else:
            source = memoryview(other.raw).cast("B")
            memoryview(self.raw).cast("B")[offset : offset + count] = source[start : start + count]

    def store(self, offset: cython.Py_ssize_t, lent: Loan, start: cython.Py_ssize_t, count: cython.Py_ssize_t) -> None:
        """Copy `count` bytes of somebody's buffer in, in a commit (noexcept): they are there, and may be written."""
        if offset < 0 or count < 1 or start < 0 or offset > self.size - count or start > lent.size - count:
            return
        if cython.compiled:
            memmove(self.ptr + offset, lent.ptr + start, count)
        else:
            memoryview(self.raw).cast("B")[offset : offset + count] = memoryview(lent.raw(start, count)).cast("B")

    def copy(
        self, offset: cython.Py_ssize_t, other: Memory, start: cython.Py_ssize_t, count: cython.Py_ssize_t
    ) -> None:
        """Copy `count` bytes of another memory in."""
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
        """Fill with a 32-bit word, native order, floor(size / 4) times."""
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
            if whole == word.to_bytes(4, sys.byteorder) * (self.size // 4):
                return -1
            for n, value in enumerate(whole.cast("I")):
                if value != word:
                    return n * 4
        return -1


@cython.freelist(64)
@cython.no_gc
@cython.cclass
class Export:
    """What a view names as its owner, `view.obj`: counts the view out of the memory when it is released."""

    __slots__ = ("memory",)
    if TYPE_CHECKING:
        memory: Any

    def __init__(self) -> None:
        raise TypeError("this only counts a view")

    def __getbuffer__(self, buffer: cython.pointer[Py_buffer], flags: cython.int) -> None:
        raise BufferError("the owner of a view lends nothing itself: use m.data")

    def __releasebuffer__(self, buffer: cython.pointer[Py_buffer]) -> None:
        memory: Memory = self.memory
        if memory is not None:
            self.memory = None
            memory.release_view()


@cython.no_gc
@cython.cclass
class Window(Releasable):
    """A stretch of some memory: `count` bytes at `off` of `buf`."""

    __slots__ = ("buf", "count", "off")
    if TYPE_CHECKING:
        buf: Any
        count: int
        off: int

    def before_export(self) -> bool:
        """Called before somebody may look: true when for reading only, an exception when not at all."""
        return False

    def __getbuffer__(self, buffer: cython.pointer[Py_buffer], flags: cython.int) -> None:
        fixed: cython.bint = self.before_export()
        memory: Memory = self.buf
        if memory is None:
            raise BufferError("this window shows no memory")
        fixed = fixed or memory.fixed
        memory._check(self.off, self.count)
        # Released, the view counts itself out of the memory, by way of the object that it names as its owner.
        export: Export = Export.__new__(Export)
        export.memory = memory
        PyBuffer_FillInfo(buffer, export, memory.ptr + self.off, self.count, fixed, flags)
        memory.exports += 1

    def view(self) -> memoryview:
        """A memoryview of the stretch."""
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
class Pane(Window):
    """A window made for one look."""

    __slots__ = ("fixed",)
    if TYPE_CHECKING:
        fixed: bool

    def __init__(self) -> None:
        raise TypeError("a view comes from m.data or m.room")

    def before_export(self) -> bool:
        return self.fixed


def pane(buf: Memory, off: cython.Py_ssize_t, count: cython.Py_ssize_t, fixed: cython.bint) -> memoryview:
    """A memoryview of `count` bytes at `off` of a memory; for reading only when `fixed`.

    The memory is pinned before the view is made, since making it may start a garbage collection that frees it.
    """
    if buf is None:
        raise TypeError("pane: give a memory")
    p: Pane = Pane.__new__(Pane)
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
    # From 3.12 on a class written in Python can lend its bytes too.
    Window.__buffer__ = lambda self, flags: self.view()
