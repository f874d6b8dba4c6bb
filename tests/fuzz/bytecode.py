"""Runs bytes as a program: each instruction calls a method, and its arguments follow in the program.

It uses eight variables for packets, and the objects of a scenario of tests/hostile. Any method may raise an error; no
memory may be damaged.
"""

from functools import cache
from typing import Any

from hostile.arguments import argument_maker
from hostile.hooks import ENDS_POOL
from hostile.members import Member, Param
from hostile.run import invoke, table
from hostile.scenario import STORAGE, Scenario, large_pool
from mbuf import M_COPYALL, Mbuf, MbufError

#: Roles whose methods are instructions.
ROLES = ("m", "q", "sb", "st", "tag", "hdr", "pool", "cl", "epg", "ext", "rc", "reserve")
#: Methods that wait, start a thread, or take long.
EXCLUDED = frozenset(["watch_memory", "publish", "cpu", "audit", "sites", "close"])
#: Sizes and their neighbours.
NUMBERS = (0, 1, -1, 2, 7, 8, 20, 50, 99, 100, 101, 150, 168, 200, 224, 255, 300, 1500, 2047, 2048, 2049, 4096, 5000)
LARGE = (9216, 16384, 65535, 70000, M_COPYALL, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, 2**63, -(2**63), 2**64)
#: Errors that a method may raise.
EXPECTED_ERRORS = (
    MbufError,
    BufferError,
    TypeError,
    AttributeError,
    ValueError,
    IndexError,
    OverflowError,
    StopIteration,
)


@cache
def instructions() -> list[Member]:
    """All instructions, always in the same order."""
    return [
        member
        for name, member in table().items()
        if member.role in ROLES
        and member.kind in ("call", "set", "get", "operator")
        and name not in ENDS_POOL
        and member.name not in EXCLUDED
        and not member.name.startswith("aget")
    ]


class BytecodeProgram:
    """One run of a program."""

    def __init__(self, code: bytes) -> None:
        self._code = code
        self._at = 0
        self.pool = large_pool()
        self.scenario = Scenario(self.pool, list(STORAGE)[self._byte() % len(STORAGE)])
        self.variables: list[Any] = [self.scenario.m, self.scenario.n, *[None] * 6]

    def _byte(self) -> int:
        self._at += 1
        return self._code[self._at - 1] if self._at <= len(self._code) else 0

    def run(self) -> str:
        """Run the program; returns what is wrong afterwards, empty if nothing."""
        while self._at < len(self._code):
            self._step()
        scenario = self.scenario
        scenario.made += [value for value in self.variables if value is not None]
        self.variables.clear()
        wrong = scenario.end()
        if not wrong:
            self.pool.close()
            wrong = f"{self.pool.vm.used} pages are used after the pool was closed" if self.pool.vm.used else ""
        return wrong

    def _step(self) -> None:
        every = instructions()
        member = every[(self._byte() << 8 | self._byte()) % len(every)]
        self.scenario.m, self.scenario.n = self._packet(), self._packet()
        target = self._byte() % 8
        try:
            arguments = [self._argument(member, param) for param in member.params]
            result = invoke(member, getattr(self.scenario, member.role), arguments, self.scenario)
        except EXPECTED_ERRORS:
            return
        for thing in result if isinstance(result, list | tuple) else (result,):
            if isinstance(thing, Mbuf):
                self.scenario.made.append(self.variables[target])
                self.variables[target] = thing
                target = (target + 1) % 8
            else:
                self.scenario.made.append(thing)

    def _packet(self) -> Any:
        """The packet of a variable; a new one if it is empty."""
        n = self._byte() % 8
        if self.variables[n] is None:
            self.variables[n] = self.pool.getcl().append(b"%d" % n * 150)
        return self.variables[n]

    def _argument(self, member: Member, param: Param) -> Any:
        """Mostly an object of the scenario; else a number or bytes that the program chooses."""
        kind = self._byte()
        make = argument_maker(member, param)
        assert make is not None
        value = make(self.scenario) if kind >= 96 or param.name in ("how", "timeout") else None
        if value is not None:
            return value
        if "int" in param.annotation or param.name in ("len", "off", "size", "n", "count"):
            return LARGE[kind % len(LARGE)] if kind < 8 else NUMBERS[kind % len(NUMBERS)]
        if param.name in ("data", "buffer", "pattern", "obj"):
            return bytearray(NUMBERS[kind % len(NUMBERS)] % 6000)
        return make(self.scenario)
