"""Memory: pages, their budget, and commits. The import fails where compiled code isn't safe."""

from mbuf.vm.interpreter import check

check()
