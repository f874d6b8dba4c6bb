"""The names of compiled classes that Python code sees."""

import re
from functools import cache
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"


@cache
def c_only_names(cls: type) -> frozenset[str]:
    """Names of a class that only C code sees: those declared with cdef in its .pxd, but not as public or readonly."""
    return frozenset(
        name
        for body in pxd_bodies(cls)
        for name in re.findall(r"^ +cdef (?!public|readonly)[^(\n]*?(\w+)(?:\(.*|)$", body, re.M)
    )


@cache
def pxd_bodies(cls: type) -> tuple[str, ...]:
    """The declarations of a class and of its bases in their .pxd files."""
    bodies = []
    for base in cls.__mro__:
        path = SRC / (base.__module__.replace(".", "/") + ".pxd")
        if base.__module__.startswith("mbuf.") and path.exists():
            body = re.search(rf"^cdef class {base.__name__}\b.*\n((?:(?: .*)?\n)*)", path.read_text("utf-8"), re.M)
            if body is not None:
                bodies.append(body[1])
    return tuple(bodies)
