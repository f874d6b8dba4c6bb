"""The mbuf, and what is made of mbufs. The import fails where compiled code isn't safe."""

from mbuf.vm.interpreter import check

# Before the first compiled module is loaded, which is one of this package.
check()
