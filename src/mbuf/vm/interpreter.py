"""Checks that compiled code is safe in this interpreter, before the first compiled module is loaded.

Compiled, commits rely on the interpreter's global lock, and the latch belongs to one interpreter. Uncompiled, each
interpreter has its own modules, and commits have a lock of their own.

This module isn't compiled: a compiled module can be loaded by one interpreter of the process only, and that would be
the one that is refused.
"""

from __future__ import annotations

import sys
from importlib import import_module


def check() -> None:
    """Raise `ImportError` in a sub-interpreter, and where the global lock is off, unless the package is uncompiled."""
    if not _is_main() and _is_compiled():
        raise ImportError("mbuf works in the main interpreter only: a sub-interpreter needs a build with MBUF_PURE=1")
    # From 3.13 on.
    if hasattr(sys, "_is_gil_enabled") and _is_compiled():
        # A free-threaded build turns the lock on for the first compiled module, unless PYTHON_GIL=0.
        import_module("mbuf.vm.ints")
        if not sys._is_gil_enabled():
            raise ImportError(
                "mbuf needs the global interpreter lock: unset PYTHON_GIL, or use a build with MBUF_PURE=1"
            )


def _is_main() -> bool:
    """Whether this is the main interpreter; also true if Python can't tell, for want of the module."""
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            interpreters = import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() == interpreters.get_main())
    return True


def _is_compiled() -> bool:
    from importlib.util import find_spec

    spec = find_spec("mbuf.vm.ints")
    return spec is not None and not str(spec.origin).endswith(".py")
