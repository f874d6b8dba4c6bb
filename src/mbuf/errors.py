"""The exceptions of the package.

Where the kernel returns NULL, `NoBufs` is raised; for an errno, the class of that errno; for an assertion that a caller
can violate, `Inval`. A method that raises one of these has changed nothing but the counts of failures.
"""

import errno


class MbufError(Exception):
    """Any error of this package."""


class NoBufs(MbufError, MemoryError):
    """A zone is at its limit (ENOBUFS). See `sysctl` for the limit to raise."""

    #: The number of this error, as in the module `errno`.
    errno = errno.ENOBUFS

    def __init__(
        self, message: str, zone: str = "", limit: int = 0, used: int = 0, cached: int = 0, sysctl: str = ""
    ) -> None:
        super().__init__(message)
        #: The zone's name.
        self.zone = zone
        #: Most items.
        self.limit = limit
        #: Items handed out.
        self.used = used
        #: Free items in caches, which count too.
        self.cached = cached
        #: The name of the limit to raise; empty if there is none.
        self.sysctl = sysctl


class NoMemory(MbufError, MemoryError):
    """There is no free page, or no run of contiguous pages that is long enough (ENOMEM)."""

    #: The number of this error, as in the module `errno`.
    errno = errno.ENOMEM


class Inval(MbufError, ValueError):
    """An argument is invalid (EINVAL)."""

    #: The number of this error, as in the module `errno`.
    errno = errno.EINVAL


class TooLong(MbufError, ValueError):
    """A message is longer than its limit (EMSGSIZE)."""

    #: The number of this error, as in the module `errno`.
    errno = errno.EMSGSIZE


class Busy(MbufError):
    """The object is in use by another thread, or by a call further up on this thread's stack (EBUSY)."""

    #: The number of this error, as in the module `errno`.
    errno = errno.EBUSY


class Again(MbufError):
    """The packet can't be sent on this interface: its send tag is of another one; get a new tag and retry (EAGAIN)."""

    #: The number of this error, as in the module `errno`.
    errno = errno.EAGAIN


class ReadOnly(MbufError, BufferError):
    """The storage is shared or read-only: it can't be written."""


class NotSupported(MbufError):
    """The operation isn't supported here (EOPNOTSUPP)."""

    #: The number of this error, as in the module `errno`.
    errno = errno.EOPNOTSUPP


class Freed(MbufError, ReferenceError):
    """The mbuf, or another object, was freed: this handle is invalid."""


class Corrupt(MbufError):
    """Free memory was written to, an item was freed twice, or an audit found a contradiction."""


class CaptureError(MbufError):
    """A file is no capture, or is truncated or malformed. The message is `file: offset N: what is wrong`."""


class TunableWarning(UserWarning):
    """A tunable has no effect, or another effect than its value says, as in the kernel."""
