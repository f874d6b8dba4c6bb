"""A replacement for the module `cython` when nothing is compiled."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

_Class = TypeVar("_Class", bound=type)
_Any = TypeVar("_Any")
_Function = TypeVar("_Function", bound=Callable[..., Any])


class cython:
    """The names of `cython` that the sources use at run time."""

    compiled = False
    #: A C Py_ssize_t.
    Py_ssize_t: TypeAlias = int
    #: A C int.
    int: TypeAlias = int
    if TYPE_CHECKING:
        uint: TypeAlias = builtins.int
        bint: TypeAlias = bool
        size_t: TypeAlias = builtins.int
        p_uchar: TypeAlias = Any
        p_void: TypeAlias = Any
        pointer: TypeAlias = dict[builtins.int, _Any]
        NULL: Any
        address: Any
        declare: Any
        sizeof: Any

    @staticmethod
    def cast(kind: object, value: Any) -> Any:
        """Compiled, the value is used as that type, without a check."""
        return value

    @staticmethod
    def cclass(cls: _Class) -> _Class:
        """Compiled, an extension type, as its `.pxd` declares."""
        return cls

    @staticmethod
    def no_gc(cls: _Class) -> _Class:
        """Compiled, the garbage collector doesn't track the objects: see docs/explanation/safety.md."""
        return cls

    @staticmethod
    def locals(**kinds: object) -> Callable[[_Function], _Function]:
        """Compiled, the local variables of a function have these C types."""
        return lambda fn: fn

    @staticmethod
    def freelist(count: builtins.int) -> Callable[[_Class], _Class]:
        """Compiled, up to `count` deallocated objects are kept for new ones."""
        return lambda cls: cls
