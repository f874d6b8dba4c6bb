"""Memory that nobody may touch, in a build with an address sanitizer.

Free memory of a pool is mapped all the time, so a sanitizer sees no error when somebody touches it: whoever takes
memory home calls `poison`, whoever hands it out `unpoison`. Both cost nothing in other builds.
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
    """True when some of the bytes may not be touched."""
    return bool(mbuf_poisoned(memory.ptr, memory.size)) if cython.compiled else False


def set_poisoned(memory: Memory, on: bool) -> None:
    """Call `poison` or `unpoison`, for callers that aren't compiled."""
    if on:
        poison(memory)
    else:
        unpoison(memory)


if not cython.compiled:

    def poison(memory: Memory) -> None:
        """Have the program end when the bytes are touched: memory of a run, not of a loan, that has come home."""

    def unpoison(memory: Memory) -> None:
        """Let the bytes be touched: the memory is handed out."""

    def poison_run(run: Run, size: int) -> None:
        """`poison`, for the first bytes of a run."""

    def unpoison_run(run: Run, size: int) -> None:
        """`unpoison`, for the first bytes of a run."""
