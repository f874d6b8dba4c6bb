"""What stands in for the compiler's magic module where nothing is compiled."""

from collections.abc import Callable
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound=type)


class cython:
    """All that uncompiled sources ask for."""

    compiled = False

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
    def freelist(count: int) -> Callable[[_Class], _Class]:
        """Compiled, as many dead objects are kept, for the next ones to be made of."""
        return lambda cls: cls
