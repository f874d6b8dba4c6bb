"""Poisoned memory, in a build with an address sanitizer.

The free memory of a pool stays mapped, so the sanitizer can't know that it is free. The code that frees memory calls
`poison`, and the code that hands it out calls `unpoison`. In other builds both cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbuf.vm.page import Memory

if TYPE_CHECKING:
    import cython

    from mbuf.vm.arena import Run
else:
    from mbuf.shadow import cython

if cython.compiled:
    from cython.cimports.mbuf.vm.asan import MBUF_ASAN, mbuf_poisoned


def sanitized() -> bool:
    """True in a build with an address sanitizer."""
    return bool(MBUF_ASAN) if cython.compiled else False


def poisoned(memory: Memory) -> bool:
    """True if some of the bytes are poisoned."""
    return bool(mbuf_poisoned(memory.ptr, memory.size)) if cython.compiled else False


def set_poisoned(memory: Memory, on: bool) -> None:
    """`poison` or `unpoison`, for callers that aren't compiled."""
    if on:
        poison(memory)
    else:
        unpoison(memory)


if not cython.compiled:

    def poison(memory: Memory) -> None:
        """Make the program end when the bytes are touched. The memory is part of a run, and free."""

    def unpoison(memory: Memory) -> None:
        """Allow the bytes to be touched: the memory is handed out."""

    def poison_run(run: Run, size: int) -> None:
        """`poison`, for the first bytes of a run."""

    def unpoison_run(run: Run, size: int) -> None:
        """`unpoison`, for the first bytes of a run."""
