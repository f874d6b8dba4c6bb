"""What stands in for the compiler's magic module where nothing is compiled."""


class cython:
    """`cython.compiled` is all that uncompiled sources ask for."""

    compiled = False
