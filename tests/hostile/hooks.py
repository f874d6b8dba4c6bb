"""Hooks, through which user code runs while a method runs, and the acts of this code."""

import gc
import logging
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hostile.members import Member, Param
from hostile.scenario import Scenario
from mbuf import EXT_NET_DRV, M_PKTHDR, PROBES, Inval, Mbuf, Pool, Vm


class Trigger:
    """Calls `act` once, at the call after `skip` others, while it is enabled."""

    def __init__(self) -> None:
        self.act: Callable[[], object] | None = None
        self.fired = 0
        #: True if the act raised an error.
        self.refused = False
        self.enabled = False
        #: How many calls to ignore first.
        self.skip = 0

    def __call__(self, *_: object) -> None:
        if not self.enabled:
            return
        if self.skip:
            self.skip -= 1
            return
        self.enabled = False
        self.fired += 1
        self.run()

    def run(self) -> None:
        """Call the act."""
        act = self.act
        if act is not None:
            try:
                act()
            except (ActError, KeyboardInterrupt):
                raise
            except Exception:
                # For example because its object was freed.
                self.refused = True


class ActError(Exception):
    """Raised by an act."""


# Arguments.


class Index:
    """An object with `__index__`, `__float__` and `__bool__` that run code."""

    def __init__(self, value: Any, trigger: Trigger) -> None:
        self.value, self.trigger = value, trigger

    def __index__(self) -> int:
        self.trigger()
        return int(self.value)

    def __float__(self) -> float:
        self.trigger()
        return float(self.value)

    def __bool__(self) -> bool:
        self.trigger()
        return bool(self.value)


class Number(int):
    """An int whose operators run code."""

    trigger: Trigger


def _operator(name: str) -> Any:
    plain = getattr(int, name)

    def method(self: Number, *arguments: Any) -> Any:
        self.trigger()
        return plain(self, *arguments)

    return method


for _name in [
    "add",
    "radd",
    "sub",
    "rsub",
    "and",
    "rand",
    "or",
    "ror",
    "xor",
    "rxor",
    "lt",
    "le",
    "gt",
    "ge",
    "eq",
    "ne",
    "bool",
    "index",
    "int",
    "neg",
    "mod",
    "hash",
]:
    setattr(Number, f"__{_name}__", _operator(f"__{_name}__"))


def number(value: int, trigger: Trigger) -> Number:
    made = Number(value)
    made.trigger = trigger
    return made


class Sequence(list):  # type: ignore[type-arg]
    """A list that runs code when it is iterated."""

    trigger: Trigger

    def __iter__(self) -> Any:
        self.trigger()
        return super().__iter__()

    def __len__(self) -> int:
        self.trigger()
        return super().__len__()


class Buffer:
    """A buffer whose protocol runs code, since Python 3.12."""

    def __init__(self, value: Any, taken: Trigger | None, released: Trigger | None) -> None:
        self.value, self.taken, self.released = value, taken, released

    def __buffer__(self, flags: int) -> memoryview:
        if self.taken is not None:
            self.taken()
        return memoryview(self.value)

    def __release_buffer__(self, view: memoryview) -> None:
        view.release()
        if self.released is not None:
            self.released()


class Text(str):
    """A str whose methods run code."""

    trigger: Trigger

    def __str__(self) -> str:
        self.trigger()
        return super().__str__()

    def __hash__(self) -> int:
        self.trigger()
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        self.trigger()
        return super().__eq__(other)


def convert(kind: str, value: Any, trigger: Trigger) -> Any:
    """An argument with the same effect as `value`, which calls the trigger when it is converted."""
    if kind == "index":
        return Index(value, trigger)
    if kind == "int":
        return number(value, trigger)
    if kind == "list":
        made = Sequence(value)
        made.trigger = trigger
        return made
    if kind == "buffer":
        return Buffer(value, trigger, None)
    if kind == "release":
        return Buffer(value, None, trigger)
    if kind == "text":
        text = Text(value)
        text.trigger = trigger
        return text
    assert kind == "call"

    def call(*arguments: Any) -> Any:
        trigger()
        return value(*arguments) if callable(value) else None

    return call


def conversions(param: Param, value: Any) -> list[str]:
    """The ways in which an argument can run code."""
    if isinstance(value, bool):
        return ["index"]
    if isinstance(value, int | float):
        return ["index", "int"]
    if isinstance(value, list):
        return ["list"]
    if isinstance(value, bytes | bytearray):
        return ["buffer", "release"] if sys.version_info >= (3, 12) else []
    if isinstance(value, str):
        return ["text"]
    if param.name == "timeout":
        return ["index", "int"]
    if param.name in ("len", "most"):
        return ["index"]
    if callable(value) or param.name in ("free", "fn", "on_free", "copy", "pause", "resume"):
        return ["call"]
    return []


# Objects of a packet.


class Value:
    """Runs code in its finalizer."""

    def __init__(self, trigger: Trigger) -> None:
        self.trigger = trigger

    def __del__(self) -> None:
        self.trigger()


class ExternalMemory(bytearray):
    """External memory that runs code in its finalizer."""

    trigger: Trigger

    def __del__(self) -> None:
        self.trigger()


def _tag_value(s: Scenario, t: Trigger, m: Mbuf) -> bool:
    if not m.flags & M_PKTHDR:
        return False
    m.tag_prepend(s.pool.tag_alloc(8, 8, Value(t)))
    return True


def _rcvif(s: Scenario, t: Trigger, m: Mbuf) -> bool:
    if not m.flags & M_PKTHDR:
        return False
    m.pkthdr.rcvif = Value(t)
    return True


def _weakref(s: Scenario, t: Trigger, m: Mbuf) -> bool:
    if not m.flags & M_PKTHDR:
        return False
    quiet = Trigger()
    value = Value(quiet)
    t.ref = weakref.ref(value, t)  # type: ignore[attr-defined]
    m.tag_prepend(s.pool.tag_alloc(8, 8, value))
    return True


def _routine(s: Scenario, t: Trigger, m: Mbuf) -> bool:
    s.append_mbuf(m, s.pool.wrap(bytearray(b"r" * 60), t).demote_pkthdr())
    return True


def _first_routine(s: Scenario, t: Trigger, m: Mbuf) -> bool:
    """Insert external memory as the second mbuf of a chain."""
    rest = m.next
    m.next = None
    n = s.pool.wrap(bytearray(b"f" * 60), t).demote_pkthdr()
    n.next = rest
    s.append_mbuf(m, n)
    return True


def _external_memory(s: Scenario, t: Trigger, m: Mbuf) -> bool:
    memory = ExternalMemory(b"l" * 60)
    memory.trigger = t
    s.append_mbuf(m, s.pool.wrap(memory).demote_pkthdr())
    return True


def _argument(s: Scenario, t: Trigger, m: Mbuf) -> bool:
    n = s.pool.get().extadd(bytearray(b"a" * 60), None, Value(t), None, 0, EXT_NET_DRV)
    n.len = 60
    s.append_mbuf(m, n)
    return True


OBJECTS: dict[str, Callable[[Scenario, Trigger, Mbuf], bool]] = {
    "tag_value": _tag_value,
    "rcvif": _rcvif,
    "weakref": _weakref,
    "routine": _routine,
    "routine2": _first_routine,
    "external_memory": _external_memory,
    "arg1": _argument,
}


# The environment.


class _Handler(logging.Handler):
    def __init__(self, trigger: Trigger) -> None:
        super().__init__()
        self.trigger = trigger

    def emit(self, record: logging.LogRecord) -> None:
        self.trigger()


#: Hooks that need a pool at its limits.
AT_LIMIT = ("logger", "shortage", "lowmem")


def attach(kind: str, trigger: Trigger, pool: Pool) -> Callable[[], None]:
    """Have the environment call a trigger; returns the function that removes it."""
    if kind.startswith("probe"):
        for name in PROBES:
            pool.probes.attach(name, trigger)

        def off() -> None:
            # One that raised is detached already, and so are all when the pool is closed.
            for name in PROBES:
                with suppress(Inval):
                    pool.probes.detach(name, trigger)

        return off
    if kind == "logger":
        log, handler = logging.getLogger("mbuf"), _Handler(trigger)
        log.addHandler(handler)
        pool.warnings.interval = 0
        return lambda: log.removeHandler(handler)
    if kind == "shortage":
        pool.vm.shortage.register(trigger)
        return lambda: pool.vm.shortage.deregister(trigger)
    if kind == "lowmem":
        pool.vm.lowmem.register(trigger)
        return lambda: pool.vm.lowmem.deregister(trigger)
    if kind.startswith("gc"):
        before = gc.get_threshold()
        gc.callbacks.append(trigger)
        gc.set_threshold(1, 1000, 1000)

        def restore_gc() -> None:
            gc.set_threshold(*before)
            gc.callbacks.remove(trigger)

        return restore_gc
    assert kind.startswith("border")
    latch = _latch()
    latch.hook = trigger

    def unhook() -> None:
        latch.hook = None

    return unhook


def _latch() -> Any:
    from mbuf.vm.commit import latch

    return latch()


def has_borders() -> bool:
    """True in a test build, in which verbs call the latch's hook."""
    try:
        latch = _latch()
    except ImportError:
        return False
    seen: list[object] = []
    pool = Pool(Vm(1 << 20), worker=False)
    latch.hook = seen.append
    try:
        pool.get().free()
    finally:
        latch.hook = None
        pool.close()
    return bool(seen)


def environment_hooks() -> list[str]:
    """Hooks that work for any method."""
    found = [f"probe{k}" for k in range(3)] + [*AT_LIMIT] + [f"gc{k}" for k in range(3)]
    if has_borders():
        found += [f"border{k}" for k in range(8)]
    return found


# Acts.


def _raise(error: BaseException) -> None:
    raise error


def _keep(s: Scenario, thing: Any) -> None:
    s.made.append(thing)


def _cut(s: Scenario) -> None:
    n = s.m.next
    s.m.next = None
    _keep(s, n)


def _relink(s: Scenario) -> None:
    s.m.next = s.n


ACTS: dict[str, Callable[[Scenario], object]] = {
    "none": lambda s: None,
    "free": lambda s: _keep(s, s.m.free()),
    "freem": lambda s: s.m.freem(),
    "free_next": lambda s: _keep(s, s.m.next and s.m.next.free()),
    "free_n": lambda s: _keep(s, s.n.free()),
    "freem_n": lambda s: s.n.freem(),
    "take300": lambda s: _keep(s, s.pool.getcl_bulk(300)),
    "cut": _cut,
    "relink": _relink,
    "share": lambda s: _keep(s, s.m.copym()),
    "share_n": lambda s: _keep(s, s.n.copym()),
    "demote": lambda s: s.m.demote(True),
    "append": lambda s: s.m.append(b"A" * 300),
    "append_n": lambda s: s.n.append(b"A" * 300),
    "adj": lambda s: s.m.adj(30),
    "trim": lambda s: s.m.adj(-120),
    # The new bytes are undefined.
    "prepend": lambda s: s.m.prepend(150).copyback(0, bytes(150)),
    "defrag": lambda s: s.m.defrag(),
    "compact": lambda s: s.m.compact(),
    "pullup": lambda s: s.m.pullup(100),
    "split": lambda s: _keep(s, s.m.split(100)),
    "cat": lambda s: s.m.cat(s.n),
    "tags": lambda s: s.m.tag_delete_chain(),
    "move_pkthdr": lambda s: s.n.move_pkthdr(s.m),
    "swap": lambda s: s.m.prepend(2000),
    "queue": lambda s: s.q.enqueue(s.m),
    "buffer": lambda s: s.sb.append(s.n),
    "clear": lambda s: (s.sb.clear(), s.st.clear(), s.q.drain()),
    "drain": lambda s: s.pool.drain(),
    "raise": lambda s: _raise(ActError()),
    "interrupt": lambda s: _raise(KeyboardInterrupt()),
    "close": lambda s: _keep(s, s.pool.close()),
    "again": lambda s: s.again(),
}

#: Acts and methods after which some bytes are undefined.
UNINITIALIZED = frozenset(
    ["prepend", "swap", "grow", "len", "makespace", "align", "fill", "getm2", "len=", "addpages"]
    + ["clget", "cljget", "cljset", "dup_pkthdr", "move_pkthdr"]
)

#: Members that consist of several steps, as documented: the act may run between two.
STEPS = frozenset(
    ["m.iter", "sb.iter", "st.iter", "q.iter", "m.apply", "pool.devget", "m.print", "pool.agetm2", "pool.agetjcl"]
)

#: Members that request a smaller cluster if there is no larger one, with a hook and an act. If the act frees a cluster
#: between the two requests, the result differs from both orders.
SMALLER_CLUSTER = frozenset(
    (member, "logger", act) for member in ("pool.getm2", "pool.frombytes") for act in ("freem", "relink")
)

#: Members and acts after which the pool can't be used again.
ENDS_POOL = frozenset(
    [
        "pool.close",
        "close",
        "pool.__exit__",
        "probes.attach",
        "reserve.start",
        "reserve.active",
        "sysctl.setitem",
        "sysctl.set",
    ]
)


def packet_hooks(member: Member) -> list[str]:
    """The hooks of a packet and its argument."""
    found = [f"m.{name}" for name in OBJECTS]
    if member.role == "m" and any("Mbuf" in p.annotation or p.name in ("from_", "n", "value") for p in member.params):
        found += [f"n.{name}" for name in OBJECTS]
    return found
