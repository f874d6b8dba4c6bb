"""send(2) for a few bytes on a stream socket, with as little work around it as possible.

It never waits, and keeps the interpreter's lock: to release it and to take it again costs more than a small send.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.vm.buffer_export import BufferExport

if cython.compiled:
    from cython.cimports.mbuf.net.linux import MSG_DONTWAIT, MSG_NOSIGNAL, send


def send_now(fd: int, export: BufferExport) -> int:
    """Send the bytes of a buffer; return how many the socket has accepted. With an error that is none.

    The next call meets the same error, if there is one.
    """
    if cython.compiled:
        sent: int = send(fd, export.ptr, export.size, MSG_DONTWAIT | MSG_NOSIGNAL)
        return max(sent, 0)
    try:
        return os.write(fd, export.obj)
    except OSError:
        return 0
