"""A machine whose programs are bytes: each instruction calls a method, with arguments that follow in the program.

It has packets in eight places, and whatever a scene of tests/hostile has. A method may refuse what it is given; memory
stays whole, whatever it is.
"""

from functools import cache
from typing import Any

from hostile.hooks import ENDS
from hostile.recipes import recipe
from hostile.run import invoke, table
from hostile.scene import STORAGE, Scene, roomy
from hostile.surface import Member, Param
from mbuf import M_COPYALL, Mbuf, MbufError

#: Roles of whose methods there are instructions.
ROLES = ("m", "q", "sb", "st", "tag", "hdr", "pool", "cl", "epg", "ext", "rc", "reserve")
#: Methods that wait, watch, or take long.
LEFT_OUT = frozenset(["watch_memory", "cpu", "audit", "sites", "close"])
#: Numbers at which something ends, or more than there is.
NUMBERS = (0, 1, -1, 2, 7, 8, 20, 50, 99, 100, 101, 150, 168, 200, 224, 255, 300, 1500, 2047, 2048, 2049, 4096, 5000)
LARGE = (9216, 16384, 65535, 70000, M_COPYALL, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, 2**63, -(2**63), 2**64)
#: What a method may refuse its arguments with.
FINE = (MbufError, BufferError, TypeError, AttributeError, ValueError, OverflowError, StopIteration)


@cache
def instructions() -> list[Member]:
    """All methods, in an order that is always the same."""
    return [
        member
        for name, member in table().items()
        if member.role in ROLES
        and member.kind in ("call", "set", "get", "operator")
        and name not in ENDS
        and member.name not in LEFT_OUT
        and not member.name.startswith("aget")
    ]


class Machine:
    """One run of a program."""

    def __init__(self, code: bytes) -> None:
        self._code = code
        self._at = 0
        self.pool = roomy()
        self.scene = Scene(self.pool, list(STORAGE)[self._byte() % len(STORAGE)])
        self.places: list[Any] = [self.scene.m, self.scene.n, *[None] * 6]

    def _byte(self) -> int:
        self._at += 1
        return self._code[self._at - 1] if self._at <= len(self._code) else 0

    def run(self) -> str:
        """Run the program; what is wrong afterwards, nothing if all is well."""
        while self._at < len(self._code):
            self._step()
        scene = self.scene
        scene.made += [place for place in self.places if place is not None]
        self.places.clear()
        wrong = scene.end()
        if not wrong:
            self.pool.close()
            wrong = f"{self.pool.vm.used} pages are used after the pool was closed" if self.pool.vm.used else ""
        return wrong

    def _step(self) -> None:
        every = instructions()
        member = every[(self._byte() << 8 | self._byte()) % len(every)]
        self.scene.m, self.scene.n = self._packet(), self._packet()
        into = self._byte() % 8
        try:
            arguments = [self._argument(member, param) for param in member.params]
            result = invoke(member, getattr(self.scene, member.role), arguments, self.scene)
        except FINE:
            return
        for thing in result if isinstance(result, list | tuple) else (result,):
            if isinstance(thing, Mbuf):
                self.scene.made.append(self.places[into])
                self.places[into] = thing
                into = (into + 1) % 8
            else:
                self.scene.made.append(thing)

    def _packet(self) -> Any:
        """A packet from a place; a new one where there is none."""
        n = self._byte() % 8
        if self.places[n] is None:
            self.places[n] = self.pool.getcl().append(b"%d" % n * 150)
        return self.places[n]

    def _argument(self, member: Member, param: Param) -> Any:
        """Mostly what the scene has; or a number, or bytes, that the program says."""
        kind = self._byte()
        make = recipe(member, param)
        assert make is not None
        value = make(self.scene) if kind >= 96 or param.name in ("how", "timeout") else None
        if value is not None:
            return value
        if "int" in param.annotation or param.name in ("len", "off", "size", "n", "count"):
            return LARGE[kind % len(LARGE)] if kind < 8 else NUMBERS[kind % len(NUMBERS)]
        if param.name in ("data", "buffer", "pattern", "obj"):
            return bytearray(NUMBERS[kind % len(NUMBERS)] % 6000)
        return make(self.scene)
