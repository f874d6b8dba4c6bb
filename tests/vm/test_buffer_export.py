"""Exports of buffers of Python objects: memory doesn't move, and is released once."""

import ctypes
import gc
import mmap
import weakref
from array import array
from collections.abc import Callable
from typing import Any

import pytest

from mbuf.vm.buffer_export import BufferExport, export_buffer
from mbuf.vm.page import Memory, compiled, view_of

LENDERS: dict[str, tuple[Callable[[], Any], bool]] = {
    "bytes": (lambda: b"0123456789", True),
    "bytearray": (lambda: bytearray(b"0123456789"), False),
    "memoryview": (lambda: memoryview(bytearray(b"..0123456789"))[2:], False),
    "read-only memoryview": (lambda: memoryview(bytearray(b"0123456789")).toreadonly(), True),
    "array": (lambda: array("H", b"0123456789"), False),
    "ctypes": (lambda: (ctypes.c_ubyte * 10)(*b"0123456789"), False),
    "structure": (lambda: Ten.from_buffer_copy(b"0123456789"), False),
    "mmap": (lambda: mapped(), False),
}


class Ten(ctypes.Structure):
    _fields_ = (("a", ctypes.c_ubyte * 4), ("b", ctypes.c_ubyte * 6))


def mapped() -> mmap.mmap:
    memory = mmap.mmap(-1, 10)
    memory[:] = b"0123456789"
    return memory


def borrowed(export: Any) -> Memory:
    memory = Memory.__new__(Memory)
    memory.use_export(export)
    return memory


@pytest.mark.parametrize("kind", LENDERS)
def test_a_buffer_export_has_its_object(kind: str) -> None:
    make, fixed = LENDERS[kind]
    thing = make()
    export = export_buffer(thing)
    assert (export.obj is thing, export.size, export.fixed) == (True, 10, fixed)
    export.release()
    assert export.obj is None


@pytest.mark.parametrize("end", ["release", "release twice", "drop"])
def test_a_lender_is_held_until_the_loan_ends(end: str) -> None:
    thing = bytearray(10)
    export: Any = export_buffer(thing)
    with pytest.raises(BufferError):
        thing.append(1)
    if end == "drop":
        del export
    else:
        export.release()
        if end == "release twice":
            export.release()
    thing.append(1)


def test_a_released_loan_keeps_nothing() -> None:
    class Lender(bytearray):
        pass

    thing = Lender(10)
    gone = weakref.ref(thing)
    export = export_buffer(thing)
    del thing
    assert gone() is not None
    export.release()
    assert gone() is None


@pytest.mark.parametrize("thing", [None, 1, "text", [1], object(), memoryview(bytes(10))[::2]])
def test_what_lends_no_bytes_in_a_row_makes_no_loan(thing: Any) -> None:
    with pytest.raises((TypeError, BufferError)):
        export_buffer(thing)
    gc.collect()


@pytest.mark.parametrize("arguments", [(), (b"abc",), (None,), (1, 2)])
def test_a_loan_is_made_of_an_object_only_by_loan(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        BufferExport(*arguments)
    thing = bytearray(3)
    export = export_buffer(thing)
    with pytest.raises(TypeError):
        export.__init__(*arguments)  # type: ignore[misc]
    assert (export.obj is thing, export.size) == (True, 3)
    export.release()
    thing.append(1)


def test_a_loan_that_was_never_made_ends_in_silence() -> None:
    export: Any = BufferExport.__new__(BufferExport)
    del export
    gc.collect()


def test_an_object_may_be_lent_many_times() -> None:
    thing = bytearray(3)
    for export in [export_buffer(thing) for _ in range(5)]:
        with pytest.raises(BufferError):
            thing.append(1)
        export.release()
    thing.append(1)


def test_nothing_is_lent_of_no_bytes() -> None:
    for thing in (b"", bytearray()):
        export = export_buffer(thing)
        assert export.size == 0
        export.release()


@pytest.mark.skipif(compiled(), reason="compiled, only C sees the bytes")
def test_uncompiled_the_bytes_keep_the_loan() -> None:
    thing = bytearray(b"0123456789")
    export = export_buffer(thing)
    raw = export.raw(2, 3)
    del export
    gc.collect()
    assert bytes(raw) == b"234"
    raw[0] = ord("x")
    assert thing == b"01x3456789"
    with pytest.raises(BufferError):
        thing.append(1)
    del raw
    thing.append(1)


def test_compiled_there_is_no_other_way_to_the_bytes() -> None:
    export = export_buffer(b"abc")
    assert export.raw(0, 0) is None if compiled() else len(export.raw(0, 0)) == 0
    export.release()


@pytest.mark.skipif(compiled(), reason="compiled, only C can borrow")
def test_memory_borrows_once() -> None:
    memory = borrowed(export_buffer(b"abc"))
    assert memory.read(0, 3) == b"abc"
    for export in (export_buffer(b"other"), None):
        with pytest.raises(IndexError, match="has bytes already"):
            memory.use_export(export)  # type: ignore[arg-type]
    assert memory.read(0, 3) == b"abc"
    with pytest.raises(IndexError, match="no export"):
        borrowed(None)


@pytest.mark.skipif(compiled(), reason="compiled, only C can borrow")
@pytest.mark.parametrize(("off", "count"), [(-1, 1), (0, 11), (10, 1), (0, -1), (11, 0)])
def test_no_view_goes_beyond_the_bytes(off: int, count: int) -> None:
    memory = borrowed(export_buffer(bytearray(10)))
    with pytest.raises(IndexError):
        view_of(memory, off, count, False)
    assert not memory.has_views()


def test_what_has_no_buffer_is_refused_with_what_to_give() -> None:
    class Fails:
        pass

    for thing, message in (
        ("text", "^give bytes, or another object that has a buffer, not a str: encode it first$"),
        (5, "not an int$"),
        (None, "not None$"),
        (Fails(), "not a Fails$"),
    ):
        with pytest.raises(TypeError, match=message):
            export_buffer(thing)
