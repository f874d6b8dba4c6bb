"""FreeBSD's network buffer allocator for Python: bounded, counted, zero-copy packet buffers.

Start with `Pool()`; see the README.
"""

from mbuf.const import *  # noqa: F403
from mbuf.errors import (
    Busy,
    CaptureError,
    Corrupt,
    Freed,
    Inval,
    MbufError,
    NoBufs,
    NoMemory,
    NotSupported,
    ReadOnly,
)
from mbuf.packet.mbuf import Mbuf
from mbuf.pool.limits import Limits
from mbuf.pool.pool import Pool
from mbuf.vm.page import compiled
from mbuf.vm.vm import Vm
