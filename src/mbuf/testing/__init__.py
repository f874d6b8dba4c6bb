"""For tests of programs that use this package: refused requests, a clock to set, and a check for mbufs that are out.

The plugin for pytest is `mbuf_pytest`, beside this package. What breaks the rules of an mbuf on purpose, for the tests
of this package, is in `mbuf.testing.unchecked`.
"""

from mbuf.testing.clock import Clock
from mbuf.testing.leaks import leaks
from mbuf.testing.refusals import Refusals

__all__ = ["Clock", "Refusals", "leaks"]
