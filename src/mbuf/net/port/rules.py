"""The rules that the calls of every port keep, each in one function.

What a call begins with raises an error whose message begins with the name of the call: `check_count` (how many packets
`pull` is asked for), `check_list` (what `push` is given), `check_usable` (the port is open, and no other thread is in
the same call). A port holds a `CallLock` during a call, and is closed by `close_calls`: compiled, each of them checks
and sets in one step, in which no other thread and no signal handler runs.

Each packet is checked when its turn comes: `check_packet` (it is an mbuf, and not freed), `check_ready` (it has no
M_NOTREADY), and where a port sends no Ethernet frames, `check_untagged` (no VLAN tag beside its bytes).
`check_addressed` is for one that the system refused, since it had no address to send it to. What a `push` ends with is
`free_sent`, or `remove_sent`. `check_size` is for the size of a message that a port is made with; the checks of its
socket are in `net/sockets.py`.

A count is converted before the port is checked: the conversion may run code of the program, which may close the port.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import M_NOTREADY, M_PKTHDR, M_VLANTAG
from mbuf.errors import Busy, Freed, Inval, MbufError
from mbuf.packet.chain import Chain
from mbuf.packet.mbuf import Mbuf
from mbuf.vm.ints import integer

if not cython.compiled:
    from mbuf.packet.chain import next_checked
    from mbuf.packet.segment import check_alive
    from mbuf.pool.bulk import free_bulk


def check_count(n: Any) -> int:
    """How many packets `pull(n)` may return. `Inval` for a negative number, TypeError for what is no integer."""
    count = integer(n, "n")
    if count < 0:
        raise Inval(f"pull: {n} packets: give 0 or more")
    return count


def check_usable(call: str, closed: bool, busy: bool) -> None:
    """Raise `Inval` if the port is closed, `Busy` if a call that excludes this one has not returned yet."""
    if closed:
        raise Inval(f"{call}: the port is closed")
    if busy:
        raise Busy(f"{call}: the port is in use by another thread, or by a call that has not returned")


#: How many forks there were from the first process to this one: a lock that was held before the last one is free.
_forks: cython.Py_ssize_t = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)

#: In place of a number of forks: the lock is free.
_FREE = -1


@cython.cclass
class CallLock:
    """The lock of a call of a port, such as "pull". It is never waited for: `acquire` raises `Busy` if it is held.

    Acquire it with `with lock:`, or `acquire` and `release`. It also knows whether the port is closed: then it can't be
    acquired. The thread that holds it doesn't exist in the child of a fork, so it is free there.
    """

    __slots__ = ("_call", "_held", "closed")

    def __init__(self, call: str) -> None:
        self._call = call
        # The number of forks when it was acquired, or _FREE.
        self._held: cython.Py_ssize_t = _FREE
        self.closed = False

    def held(self) -> bool:
        """Whether a call holds it."""
        return bool(self._held == _forks)

    def check(self) -> None:
        """Raise `Inval` if the port is closed, `Busy` if a call holds the lock."""
        check_usable(self._call, self.closed, self.held())

    def acquire(self) -> None:
        """Hold it, or raise what `check` raises."""
        self.check()
        self._held = _forks

    def release(self) -> None:
        """End the call."""
        self._held = _FREE

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._held = _FREE


def close_calls(pull: CallLock, push: CallLock) -> bool:
    """Close a port with these two locks; whether it was open. Raise `Busy` if one of them is held."""
    if pull.closed:
        return False
    check_usable("close", False, pull.held() or push.held())
    pull.closed = push.closed = True
    return True


def check_list(packets: Any) -> None:
    """Raise TypeError unless the packets are in a list: those that were sent are removed from it."""
    if type(packets) is not list:
        raise TypeError(f"push: give a list, from which the sent packets are removed, not a {type(packets).__name__}")


def check_packet(thing: Any) -> Mbuf:
    """The mbuf that an item of the list is. `Inval` if it is something else, `Freed` if it was freed."""
    if not isinstance(thing, Mbuf):
        raise Inval(f"push: a {type(thing).__name__} is in the list of packets: give mbufs, as of pool.frombytes")
    m: Mbuf = cython.cast(Mbuf, thing)
    check_alive(m)
    return m


def check_ready(call: str, m: Chain) -> None:
    """Raise `Inval` if an mbuf of a chain is M_NOTREADY."""
    n: Chain | None = m
    while n is not None:
        check_mbuf_ready(call, n)
        n = next_checked(n)


def check_mbuf_ready(call: str, m: Chain) -> None:
    """Raise `Inval` if one mbuf is M_NOTREADY: its bytes are still to be encrypted, or read."""
    if m.bits & M_NOTREADY:
        raise Inval(f"{call}: the chain has bytes that aren't ready (M_NOTREADY): encrypt or read them first")


def check_untagged(m: Mbuf) -> None:
    """Raise `Inval` if a packet has a VLAN tag in its header, from a port that can't send the tag."""
    if m.bits & M_VLANTAG:
        raise Inval(
            "push: the packet has a VLAN tag (M_VLANTAG), and this port doesn't know Ethernet headers: "
            "put it into the frame (encapsulate), or clear the flag"
        )


def check_addressed(m: Mbuf) -> None:
    """Raise `Inval` if a packet has no address, which its socket needs."""
    if not m.bits & M_PKTHDR or m.hdr.peer is None:
        raise Inval("push: this packet has no peer: set m.peer, connect the socket, or give the port a `to`")


def remove_sent(packets: list[Any], sent: list[Any]) -> None:
    """Remove packets that were sent from a list, whatever was added to it or removed from it meanwhile."""
    same = 0
    while same < len(sent) and same < len(packets) and packets[same] is sent[same]:
        same += 1
    del packets[:same]
    for i in range(same, len(sent)):
        for n in range(len(packets)):
            if packets[n] is sent[i]:
                del packets[n]
                break


def free_sent(packets: list[Any], count: int) -> None:
    """Remove the first `count` packets from a list, and free them.

    Raises `Freed` if one of them is in the list twice, or was freed meanwhile; all of them are free then.
    """
    sent = packets[:count]
    del packets[:count]
    try:
        free_bulk(sent)
    except (Freed, Inval) as refused:
        # None of them was freed: free each by itself.
        error: MbufError = refused
        for m in sent:
            if isinstance(m, Mbuf):
                try:
                    m.freem()
                except Freed as again:
                    error = again
        raise error from None


def check_size(size: Any, longest: int, what: str) -> int:
    """The bytes of the longest message that a port receives. `Inval` unless they are from 1 to `longest`."""
    count = integer(size, "size")
    if not 0 < count <= longest:
        raise Inval(f"size {size}: give the bytes of the longest {what}, 1 to {longest}")
    return count
