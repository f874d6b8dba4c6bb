"""What may go wrong, one tree.

A NULL of the kernel becomes `NoBufs`, an errno its class, an assertion `Inval` where a caller can cause it.
Whatever raises one of these has changed nothing, but for the counts of failures.
"""

import errno


class MbufError(Exception):
    """Any error of this package."""


class NoBufs(MbufError, MemoryError):
    """A zone is at its limit (ENOBUFS).

    `zone` is its name, `limit` its most items, `used` those handed out, `cached` those kept free in
    caches, `sysctl` the name to raise.
    """

    errno = errno.ENOBUFS

    def __init__(
        self, message: str, zone: str = "", limit: int = 0, used: int = 0, cached: int = 0, sysctl: str = ""
    ) -> None:
        super().__init__(message)
        self.zone = zone
        self.limit = limit
        self.used = used
        self.cached = cached
        self.sysctl = sysctl


class NoMemory(MbufError, MemoryError):
    """No page, or no run of pages in a row, is left (ENOMEM)."""

    errno = errno.ENOMEM


class Inval(MbufError, ValueError):
    """An argument can't be right (EINVAL)."""

    errno = errno.EINVAL


class TooLong(MbufError, ValueError):
    """More bytes than may be, before a message ends (EMSGSIZE)."""

    errno = errno.EMSGSIZE


class Busy(MbufError):
    """In use by somebody else, or by this thread further up its stack (EBUSY)."""

    errno = errno.EBUSY


class Again(MbufError):
    """Not this way now, and another time perhaps: the send tag is of another interface (EAGAIN)."""

    errno = errno.EAGAIN


class ReadOnly(MbufError, BufferError):
    """The storage is shared or read-only, so it can't be written."""


class NotSupported(MbufError):
    """Not to be had here (EOPNOTSUPP)."""

    errno = errno.EOPNOTSUPP


class Freed(MbufError, ReferenceError):
    """The mbuf was freed: this handle stands for nothing any more."""


class Corrupt(MbufError):
    """Free memory was written to: its trash pattern is gone."""


class CaptureError(MbufError):
    """A capture file is truncated, corrupt or not a capture: `file: offset N: what is wrong`."""


class TunableWarning(UserWarning):
    """A tunable doesn't do what it seems to say: the kernel ignores it, or makes something else of it."""
