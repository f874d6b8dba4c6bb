"""Refuses to be imported where compiled code isn't safe; the first module of the package to be loaded.

A commit is one step only under the global lock, and the release lists are those of one interpreter. Uncompiled,
everything works: each interpreter has modules of its own, and commits have a lock.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

if cython.compiled:
    from cython.cimports.mbuf.vm.interpreter import PyInterpreterState_Get, PyInterpreterState_Main


def check() -> None:
    """Raise `ImportError` in a sub-interpreter, and where the global lock is off."""
    if not cython.compiled:
        return
    if PyInterpreterState_Get() != PyInterpreterState_Main():
        raise ImportError("mbuf works in the main interpreter only: a sub-interpreter needs a build with MBUF_PURE=1")
    # From 3.13 on. A build without the lock turns it on for this module, unless PYTHON_GIL=0 forbids that.
    if hasattr(sys, "_is_gil_enabled") and not sys._is_gil_enabled():
        raise ImportError("mbuf needs the global interpreter lock: unset PYTHON_GIL, or use a build with MBUF_PURE=1")
