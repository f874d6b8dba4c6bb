# cython: annotation_typing=True
"""Many messages sent in one call, straight out of memory: sendmmsg(2).

Sees stretches of memory; says beside them to whom they go, and how the kernel is to cut them. Waits for nothing, holds
no lock during the call, and never knows whose bytes these are. Uncompiled, it makes a call for each message.
"""

from __future__ import annotations

import socket
import sys
from errno import EAFNOSUPPORT
from typing import TYPE_CHECKING, Any

from mbuf.errors import Inval
from mbuf.net.linux import SOL_UDP, UDP_SEGMENT
from mbuf.net.udp.peer import unpacked
from mbuf.vm.buffer_export import BufferExport
from mbuf.vm.page import Exporter, Memory, view_of

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

if cython.compiled:
    from cython.cimports.cpython.mem import PyMem_Calloc, PyMem_Free
    from cython.cimports.cpython.ref import Py_DECREF, Py_INCREF, PyObject
    from cython.cimports.libc.errno import errno
    from cython.cimports.libc.string import memcpy
    from cython.cimports.mbuf.net.linux import (
        CMSG_DATA,
        CMSG_FIRSTHDR,
        CMSG_LEN,
        CMSG_SPACE,
        cmsghdr,
        iovec,
        mmsghdr,
        msghdr,
        sendmmsg,
    )

MSG_DONTWAIT = socket.MSG_DONTWAIT
#: What a name of no peer of this socket's is refused with.
ALIEN = EAFNOSUPPORT


@cython.no_gc
@cython.cclass
class Outbox:
    """Messages to be sent: at most `messages`, of `pieces` pieces together.

    `hold` or `lend` the pieces of a message one by one, `seal` it; `send` all, and `clear` in any case. Memory that
    is held counts as looked at until then, so that it stays whatever others do meanwhile.
    """

    __slots__ = ("_first", "_kept", "_exports", "_names", "_sealed", "_used", "count", "messages", "pieces")
    if TYPE_CHECKING:
        messages: int
        pieces: int
        count: int
        _heads: Any
        _iov: Any
        _looks: Any
        _controls: Any
        _marks: Any

    def __init__(self, messages: cython.Py_ssize_t, pieces: cython.Py_ssize_t) -> None:
        if not 0 < messages <= 1024 or not 0 < pieces <= 1 << 16:
            raise IndexError(f"{messages} messages of {pieces} pieces: give 1 to 1024, and 1 to 65536")
        if cython.compiled and self._heads != cython.NULL:
            raise IndexError("this outbox is made already")
        self.messages = messages
        self.pieces = pieces
        self.count = 0
        self._used: cython.Py_ssize_t = 0
        self._first: cython.Py_ssize_t = 0
        self._kept: list[Any] = []
        self._exports: list[Any] = []
        self._names: list[Any] = []
        if cython.compiled:
            self._make()
        else:
            self._sealed: list[Any] = []

    def _make(self) -> None:
        self._heads = cython.cast(cython.pointer[mmsghdr], PyMem_Calloc(self.messages, cython.sizeof(mmsghdr)))
        self._iov = cython.cast(cython.pointer[iovec], PyMem_Calloc(self.pieces, cython.sizeof(iovec)))
        self._looks = cython.cast(cython.pointer[cython.pointer[PyObject]], PyMem_Calloc(self.pieces, 8))
        self._controls = cython.cast(cython.p_uchar, PyMem_Calloc(self.messages, CMSG_SPACE(2)))
        self._marks = cython.cast(cython.pointer[cython.Py_ssize_t], PyMem_Calloc(self.messages, 16))
        if (
            self._heads == cython.NULL
            or self._iov == cython.NULL
            or self._looks == cython.NULL
            or self._controls == cython.NULL
            or self._marks == cython.NULL
        ):
            raise MemoryError

    def __dealloc__(self) -> None:
        if cython.compiled:
            if self._looks != cython.NULL:
                self._look_away()
            PyMem_Free(self._heads)
            PyMem_Free(self._iov)
            PyMem_Free(self._looks)
            PyMem_Free(self._controls)
            PyMem_Free(self._marks)

    def _look_away(self) -> None:
        """Look at nothing any more. What goes home then may do anything, but add to this outbox."""
        i: cython.Py_ssize_t
        for i in range(self._used):
            if self._looks[i] != cython.NULL:
                memory: Memory = cython.cast(Memory, self._looks[i])
                self._looks[i] = cython.NULL
                Py_DECREF(memory)
                memory.release_view()

    def left(self) -> cython.Py_ssize_t:
        """Pieces that there is room for."""
        return self.pieces - self._used

    def hold(self, window: Exporter) -> int:
        """Add the bytes of a window to the message."""
        if self._used >= self.pieces:
            raise IndexError("there is no room for another piece")
        if cython.compiled:
            memory: Memory = window.buf
            if window.off < 0 or window.count < 0 or window.off > memory.size - window.count:
                raise IndexError("the window is larger than its memory")
            data: cython.p_uchar = memory.ptr + window.off
            if self._used > self._first and self._goes_on(memory, data):
                self._iov[self._used - 1].iov_len += window.count
                return 0
            memory.exports += 1
            Py_INCREF(memory)
            self._looks[self._used] = cython.cast(cython.pointer[PyObject], memory)
            self._iov[self._used].iov_base = data
            self._iov[self._used].iov_len = window.count
        else:
            self._kept.append(view_of(window.buf, window.off, window.count, True))
        self._used += 1
        return 0

    def _goes_on(self, memory: Memory, data: cython.p_uchar) -> cython.bint:
        """Whether bytes begin where the last piece ends, in the same memory: a longer piece does as well then."""
        last: cython.Py_ssize_t = self._used - 1
        if self._looks[last] != cython.cast(cython.pointer[PyObject], memory):
            return False
        return cython.cast(cython.p_uchar, self._iov[last].iov_base) + self._iov[last].iov_len == data

    def lend(self, export: BufferExport) -> None:
        """Add an exported buffer to the message; `clear` releases it."""
        if self._used >= self.pieces:
            raise IndexError("there is no room for another piece")
        self._exports.append(export)
        if cython.compiled:
            self._iov[self._used].iov_base = export.ptr
            self._iov[self._used].iov_len = export.size
        else:
            self._kept.append(memoryview(export.obj))
        self._used += 1

    def seal(self, segment: cython.Py_ssize_t, name: Any, end: cython.Py_ssize_t, size: cython.Py_ssize_t) -> None:
        """End the message: to the peer of that name, or the socket's for None; cut by the kernel unless `segment` is 0.

        A name is what `Inbox.name` gives. `end` and `size` are the caller's to note: see `end` and `size`.
        """
        if self.count >= self.messages:
            raise IndexError("there is no room for another message")
        if cython.compiled:
            self._marks[2 * self.count] = end
            self._marks[2 * self.count + 1] = size
            head: cython.pointer[msghdr] = cython.address(self._heads[self.count].msg_hdr)
            head.msg_iov = self._iov + self._first
            head.msg_iovlen = self._used - self._first
            head.msg_name = cython.NULL
            head.msg_namelen = 0
            if name is not None:
                # The caller may let go of it before it is sent.
                self._names.append(name)
                data: cython.p_char = name
                head.msg_name = data
                head.msg_namelen = len(name)
            head.msg_control = cython.NULL
            head.msg_controllen = 0
            if segment:
                head.msg_control = self._controls + self.count * CMSG_SPACE(2)
                head.msg_controllen = CMSG_SPACE(2)
                said: cython.pointer[cmsghdr] = CMSG_FIRSTHDR(head)
                said.cmsg_level = SOL_UDP
                said.cmsg_type = UDP_SEGMENT
                said.cmsg_len = CMSG_LEN(2)
                short: cython.ushort = segment
                memcpy(CMSG_DATA(said), cython.address(short), 2)
        else:
            if self.count == 0:
                self._sealed.clear()
            control = [(SOL_UDP, UDP_SEGMENT, segment.to_bytes(2, sys.byteorder))] if segment else []
            self._sealed.append((self._first, self._used, control, name, end, size))
        self._first = self._used
        self.count += 1

    def end(self, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """What was noted of message `n`, until the next is sealed after `clear`."""
        if cython.compiled:
            return self._marks[2 * n]
        return self._sealed[n][4]

    def size(self, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """See `end`."""
        if cython.compiled:
            return self._marks[2 * n + 1]
        return self._sealed[n][5]

    def send(self, sock: Any) -> cython.Py_ssize_t:
        """Send what is sealed, without waiting; how many messages went, or the system's error number, negated."""
        if cython.compiled:
            fd: cython.int = sock.fileno()
            with cython.nogil:
                went: cython.int = sendmmsg(fd, self._heads, self.count, MSG_DONTWAIT)
                error: cython.int = errno
            return -error if went < 0 else went
        for n, (first, end, control, name, _, _) in enumerate(self._sealed):
            try:
                if name is None:
                    sock.sendmsg(self._kept[first:end], control, MSG_DONTWAIT)
                else:
                    sock.sendmsg(self._kept[first:end], control, MSG_DONTWAIT, unpacked(name))
            except OSError as error:
                # Those that Python has for names are below 0.
                return n or -(error.errno if error.errno and error.errno > 0 else ALIEN)
            except (Inval, TypeError):
                return n or -ALIEN
        return self.count

    def clear(self) -> None:
        """Let go of all that was added."""
        if cython.compiled:
            self._look_away()
        else:
            for view in self._kept:
                view.release()
            self._kept.clear()
        for export in self._exports:
            export.release()
        self._exports.clear()
        self._names.clear()
        self.count = 0
        self._used = 0
        self._first = 0
