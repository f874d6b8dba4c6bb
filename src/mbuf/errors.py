"""The exceptions of the package.

Where the kernel returns NULL, `NoBufs` is raised; for an errno, the class of that errno; for an assertion that a caller
can violate, `Inval`. A method that raises one of these has changed nothing but the counts of failures.
"""

import errno

from mbuf.const import PAGE_SIZE


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


def at_limit(zone: str, limit: int, used: int, cached: int, sysctl: str, packed: int = 0) -> NoBufs:
    """The error for a zone at its limit; `packed` of the cached items are clusters in cached packets."""
    cached_text = f"{cached - packed} cached" + (f", {packed} in packets that are cached" if packed else "")
    how = ""
    if "=" not in sysctl:
        how = f', as with Pool(tunables={{"{sysctl}": {2 * limit}}}) or pool.sysctl["{sysctl}"] = {2 * limit}'
    return NoBufs(
        f"{zone} at its limit of {limit}: {used} in use, {cached_text}; raise {sysctl}{how}",
        zone=zone,
        limit=limit,
        used=used,
        cached=cached,
        sysctl=sysctl,
    )


class NoMemory(MbufError, MemoryError):
    """There is no free page, or no run of contiguous pages that is long enough (ENOMEM)."""

    #: The number of this error, as in the module `errno`.
    errno = errno.ENOMEM


class PoolFull(NoBufs, NoMemory):
    """The memory of a pool is in use, or what is free of it doesn't suffice: of a pool with a budget, as `Pool("64M")`.

    It is both a `NoBufs` and a `NoMemory`, so a handler of either catches it. The message says who holds the memory.
    It is made when it is first read, from the numbers at the time of the error.
    """

    def __init__(
        self,
        memory: int,
        free: int = 0,
        run: int = 1,
        waiting: int = 0,
        needed: int = 0,
        held: tuple[tuple[str, int, int], ...] = (),
    ) -> None:
        used = 0
        for _, count, size in held:
            used += count * size
        super().__init__("", limit=memory, used=used)
        self.args = (memory, free, run, waiting, needed, held)
        #: Bytes of the pool's memory.
        self.memory = memory
        #: Bytes of its free pages.
        self.free = free
        #: Who holds the memory: what, how many, and the bytes of one, the largest part first.
        self.held = held

    def __str__(self) -> str:
        memory, free, run, waiting, needed, held = self.args
        parts = ", ".join(f"{count:,} {what} ({_mib(count * size)})" for what, count, size in held)
        if needed:
            return (
                f"this call needs {_mib(needed)}, and this pool has {_mib(memory)} in all: ask for less at once, or "
                f'give the pool more, as with Pool("{_spelled(max(2 * memory, needed))}")'
            )
        if waiting:
            what = f"what becomes free of this pool's {_mib(memory)} is for the calls that wait for memory ({waiting})"
        elif free >= run * PAGE_SIZE:
            row = f"no {run} pages in a row" if run > 1 else "too little for this call, or reserved"
            what = f"{_mib(free)} of this pool's {_mib(memory)} are free, but {row}"
        else:
            what = f"this pool's memory is full, {_mib(memory)}"
        return (
            f"{what}; in use: {parts or 'nothing'}. Free some sooner, wait for some (how=M_WAITOK, or agetcl), or give "
            f'the pool more, as with Pool("{_spelled(2 * memory)}")'
        )


def _mib(size: int) -> str:
    """A number of bytes, for a reader."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            text = f"{size / unit:.1f}".removesuffix(".0")
            return f"{text} {name}"
    return f"{size} bytes"


def _spelled(size: int) -> str:
    """A number of bytes as `Pool` takes it, rounded up."""
    for unit, name in ((1 << 30, "G"), (1 << 20, "M")):
        if size >= unit:
            return f"{-(-size // unit)}{name}"
    return f"{-(-size // 1024)}K"


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
