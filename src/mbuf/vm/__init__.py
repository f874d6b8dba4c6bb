"""Memory: pages, and how many. Refuses at once where compiled code isn't safe."""

from mbuf.vm.interpreter import check

check()
