"""What stands in for the compiler's magic module where nothing is compiled."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound=type)
_Function = TypeVar("_Function", bound=Callable[..., Any])


class cython:
    """All that uncompiled sources ask for."""

    compiled = False
    #: A number as wide as the machine's.
    Py_ssize_t = int
    #: A C int.
    int = int

    @staticmethod
    def cast(kind: object, value: Any) -> Any:
        """Compiled, the value is taken for that kind without a look."""
        return value

    @staticmethod
    def cclass(cls: _Class) -> _Class:
        """Compiled, the class is one of C, as its `.pxd` says."""
        return cls

    @staticmethod
    def no_gc(cls: _Class) -> _Class:
        """Compiled, the cycle collector doesn't track the objects: see docs/safety.md."""
        return cls

    @staticmethod
    def locals(**kinds: object) -> Callable[[_Function], _Function]:
        """Compiled, the variables of a function have those types of C."""
        return lambda fn: fn

    @staticmethod
    def freelist(count: builtins.int) -> Callable[[_Class], _Class]:
        """Compiled, as many dead objects are kept, for the next ones to be made of."""
        return lambda cls: cls
