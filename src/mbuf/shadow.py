"""What stands in for the compiler's magic module where nothing is compiled."""

from typing import TypeVar

_T = TypeVar("_T")


class cython:
    """All that uncompiled sources ask for."""

    compiled = False

    @staticmethod
    def no_gc(cls: type[_T]) -> type[_T]:
        """Compiled, the class is left out of cycle collection; see docs/safety.md."""
        return cls
