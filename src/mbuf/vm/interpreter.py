"""Checks that compiled code is safe in this interpreter. It is the first module of the package that is imported.

Compiled, commits rely on the interpreter's global lock, and the latch belongs to one interpreter. Uncompiled, each
interpreter has its own modules, and commits have a lock of their own.
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
    # From 3.13 on. A free-threaded build turns the lock on for this module, unless PYTHON_GIL=0.
    if hasattr(sys, "_is_gil_enabled") and not sys._is_gil_enabled():
        raise ImportError("mbuf needs the global interpreter lock: unset PYTHON_GIL, or use a build with MBUF_PURE=1")
