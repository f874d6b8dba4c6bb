# cython: annotation_typing=True
"""sendmmsg(2): many messages sent in one call, read by the kernel straight from memory.

A `SendVector` is the array of `struct mmsghdr` that the call reads: for each message its pieces of memory, the name of
the peer, control messages, and the segment size of GSO. It knows nothing of mbufs. A send never waits, and releases
the interpreter's lock during the call. Uncompiled, there is a sendmsg(2) for each message.
"""

from __future__ import annotations

import socket
import sys
from errno import EAFNOSUPPORT
from typing import TYPE_CHECKING, Any

from mbuf.errors import Inval
from mbuf.net.linux import SOL_UDP, UDP_SEGMENT
from mbuf.net.sockets import never_waiting
from mbuf.packet.control import separated
from mbuf.packet.peer import unpacked
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
        CMSG_LEN,
        CMSG_SPACE,
        cmsghdr,
        iovec,
        mmsghdr,
        msghdr,
        sendmmsg,
    )

MSG_DONTWAIT = socket.MSG_DONTWAIT
#: The most bytes of the control messages of a message, without that of GSO. See `Control`.
CONTROL_MAX = 160

#: The error of a message to an address that this socket can't send to.
BAD_NAME = EAFNOSUPPORT


@cython.no_gc
@cython.cclass
class SendVector:
    """Room for `messages` messages of `pieces` pieces of memory in total. `count` messages are in it.

    The caller adds the pieces of a message with `add` and `add_export`, ends the message with `end_message`, calls
    `send`, and then always `clear`. Until `clear` each piece counts as a view of its memory: the memory of a packet
    that is freed meanwhile isn't used again.
    """

    __slots__ = ("_exports", "_first", "_messages", "_names", "_used", "_views", "count", "messages", "pieces")
    if TYPE_CHECKING:
        messages: int
        pieces: int
        count: int
        _heads: Any
        _iov: Any
        _memories: Any
        _controls: Any
        _ends_and_sizes: Any

    def __init__(self, messages: cython.Py_ssize_t, pieces: cython.Py_ssize_t) -> None:
        if not 0 < messages <= 1024 or not 0 < pieces <= 1 << 16:
            raise IndexError(f"{messages} messages of {pieces} pieces: give 1 to 1024, and 1 to 65536")
        if cython.compiled and self._heads != cython.NULL:
            raise IndexError("this vector was initialized already")
        self.messages = messages
        self.pieces = pieces
        self.count = 0
        self._used: cython.Py_ssize_t = 0
        self._first: cython.Py_ssize_t = 0
        self._views: list[Any] = []
        self._exports: list[Any] = []
        self._names: list[Any] = []
        if cython.compiled:
            self._allocate()
        else:
            self._messages: list[Any] = []

    def _allocate(self) -> None:
        self._heads = cython.cast(cython.pointer[mmsghdr], PyMem_Calloc(self.messages, cython.sizeof(mmsghdr)))
        self._iov = cython.cast(cython.pointer[iovec], PyMem_Calloc(self.pieces, cython.sizeof(iovec)))
        self._memories = cython.cast(cython.pointer[cython.pointer[PyObject]], PyMem_Calloc(self.pieces, 8))
        self._controls = cython.cast(cython.p_uchar, PyMem_Calloc(self.messages, CONTROL_MAX + CMSG_SPACE(2)))
        self._ends_and_sizes = cython.cast(cython.pointer[cython.Py_ssize_t], PyMem_Calloc(self.messages, 16))
        if (
            self._heads == cython.NULL
            or self._iov == cython.NULL
            or self._memories == cython.NULL
            or self._controls == cython.NULL
            or self._ends_and_sizes == cython.NULL
        ):
            raise MemoryError

    def __dealloc__(self) -> None:
        if cython.compiled:
            if self._memories != cython.NULL:
                self._release_memories()
            PyMem_Free(self._heads)
            PyMem_Free(self._iov)
            PyMem_Free(self._memories)
            PyMem_Free(self._controls)
            PyMem_Free(self._ends_and_sizes)

    def _release_memories(self) -> None:
        """Release the views of all pieces. Memory that this frees may run any code, but none that adds pieces here."""
        i: cython.Py_ssize_t
        for i in range(self._used):
            if self._memories[i] != cython.NULL:
                memory: Memory = cython.cast(Memory, self._memories[i])
                self._memories[i] = cython.NULL
                Py_DECREF(memory)
                memory.release_view()

    def room(self) -> cython.Py_ssize_t:
        """How many more pieces there is room for."""
        return self.pieces - self._used

    def add(self, window: Exporter) -> int:
        """Add the bytes of a window to the message."""
        if self._used >= self.pieces:
            raise IndexError("there is no room for another piece")
        if cython.compiled:
            memory: Memory = window.buf
            if window.off < 0 or window.count < 0 or window.off > memory.size - window.count:
                raise IndexError("the window is larger than its memory")
            data: cython.p_uchar = memory.ptr + window.off
            if self._used > self._first and self._continues(memory, data):
                self._iov[self._used - 1].iov_len += window.count
                return 0
            memory.exports += 1
            Py_INCREF(memory)
            self._memories[self._used] = cython.cast(cython.pointer[PyObject], memory)
            self._iov[self._used].iov_base = data
            self._iov[self._used].iov_len = window.count
        else:
            self._views.append(view_of(window.buf, window.off, window.count, True))
        self._used += 1
        return 0

    def _continues(self, memory: Memory, data: cython.p_uchar) -> cython.bint:
        """Whether bytes begin where the last piece ends, in the same memory: the last piece is extended then."""
        last: cython.Py_ssize_t = self._used - 1
        if self._memories[last] != cython.cast(cython.pointer[PyObject], memory):
            return False
        return cython.cast(cython.p_uchar, self._iov[last].iov_base) + self._iov[last].iov_len == data

    def add_export(self, export: BufferExport) -> None:
        """Add an exported buffer to the message; `clear` releases it."""
        if self._used >= self.pieces:
            raise IndexError("there is no room for another piece")
        self._exports.append(export)
        if cython.compiled:
            self._iov[self._used].iov_base = export.ptr
            self._iov[self._used].iov_len = export.size
        else:
            self._views.append(memoryview(export.obj))
        self._used += 1

    def end_message(
        self,
        gso_size: cython.Py_ssize_t,
        name: Any,
        end: cython.Py_ssize_t,
        size: cython.Py_ssize_t,
        control: Any = None,
    ) -> None:
        """End the message of the pieces that were added since the last one.

        `name` is that of the peer, a sockaddr as `RecvVector.name` returns it, or None for the socket's own peer.
        `control` are control messages, or None. The kernel segments it into datagrams of `gso_size` bytes, unless that
        is 0. `end` and `size` are kept for the caller, who reads them with the methods of these names.
        """
        if self.count >= self.messages:
            raise IndexError("there is no room for another message")
        if cython.compiled:
            self._ends_and_sizes[2 * self.count] = end
            self._ends_and_sizes[2 * self.count + 1] = size
            head: cython.pointer[msghdr] = cython.address(self._heads[self.count].msg_hdr)
            head.msg_iov = self._iov + self._first
            head.msg_iovlen = self._used - self._first
            head.msg_name = cython.NULL
            head.msg_namelen = 0
            if name is not None:
                # The caller may drop its reference before the message is sent.
                self._names.append(name)
                data: cython.p_char = name
                head.msg_name = data
                head.msg_namelen = len(name)
            head.msg_control = cython.NULL
            head.msg_controllen = 0
            area: cython.p_uchar = self._controls + self.count * (CONTROL_MAX + CMSG_SPACE(2))
            used: cython.Py_ssize_t = 0
            if control is not None:
                messages: cython.p_char = control
                used = len(control)
                if used > CONTROL_MAX:
                    raise IndexError("the control messages are too long")
                memcpy(area, messages, used)
                head.msg_control = area
                head.msg_controllen = used
            if gso_size:
                head.msg_control = area
                head.msg_controllen = used + CMSG_SPACE(2)
                # Behind the others, the lengths of which are multiples of the alignment.
                cmsg: cython.pointer[cmsghdr] = cython.cast(cython.pointer[cmsghdr], area + used)
                cmsg.cmsg_level = SOL_UDP
                cmsg.cmsg_type = UDP_SEGMENT
                cmsg.cmsg_len = CMSG_LEN(2)
                value: cython.ushort = gso_size
                memcpy(CMSG_DATA(cmsg), cython.address(value), 2)
        else:
            if self.count == 0:
                self._messages.clear()
            ancillary = [] if control is None else separated(control)
            if gso_size:
                ancillary.append((SOL_UDP, UDP_SEGMENT, gso_size.to_bytes(2, sys.byteorder)))
            self._messages.append((self._first, self._used, ancillary, name, end, size))
        self._first = self._used
        self.count += 1

    def end(self, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """The `end` that was given for message `n`; valid until the first `end_message` after `clear`."""
        if cython.compiled:
            return self._ends_and_sizes[2 * n]
        return self._messages[n][4]

    def size(self, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """The `size` that was given for message `n`. See `end`."""
        if cython.compiled:
            return self._ends_and_sizes[2 * n + 1]
        return self._messages[n][5]

    def send(self, sock: Any) -> cython.Py_ssize_t:
        """Send the messages; how many were sent, or the negated error number. Never waits."""
        if cython.compiled:
            fd: cython.int = sock.fileno()
            with cython.nogil:
                sent: cython.int = sendmmsg(fd, self._heads, self.count, MSG_DONTWAIT)
                error: cython.int = errno
            return -error if sent < 0 else sent
        for n, (first, end, control, name, _, _) in enumerate(self._messages):
            try:
                to = () if name is None else (unpacked(name),)
                never_waiting(sock, "sendmsg", self._views[first:end], control, MSG_DONTWAIT, *to)
            except OSError as error:
                # Python's own errors for an address have a negative number.
                return n or -(error.errno if error.errno and error.errno > 0 else BAD_NAME)
            except (Inval, TypeError):
                return n or -BAD_NAME
        return self.count

    def clear(self) -> None:
        """Remove all messages, and release the views of their memory."""
        if cython.compiled:
            self._release_memories()
        else:
            for view in self._views:
                view.release()
            self._views.clear()
        for export in self._exports:
            export.release()
        self._exports.clear()
        self._names.clear()
        self.count = 0
        self._used = 0
        self._first = 0
