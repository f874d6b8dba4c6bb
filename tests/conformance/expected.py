"""The state that a trace has stated so far, and its comparison with the state of the machine."""

from typing import Any

from conformance.chain_state import MbufState, describe, flat
from conformance.machine import DRAINS, Machine, Op

#: Fields with the identity of an object, and its kind.
IDENTITIES = {"id": "mbuf", "np": "mbuf", "x.b": "buffer", "x.pgb": "page"}

#: Stands for a field that does not exist.
NOTHING = "nothing"


class Difference(AssertionError):
    """The library and the kernel have different results or states."""


def expect(what: str, expected: Any, got: Any) -> None:
    """Raise `Difference` unless the two are equal."""
    if expected != got:
        raise Difference(f"{what}: expected {expected}, got {got}")


def expect_same(expected: dict[str, Any], got: dict[str, Any]) -> None:
    """Raise `Difference`, which names the field, unless two states are equal."""
    before, after = dict(flat("", expected)), dict(flat("", got))
    for path in before | after:
        expect(f"state.{path}", before.get(path, NOTHING), after.get(path, NOTHING))


class ExpectedChain:
    """A chain: its last description in the trace, the state compared with it, and our object for each number."""

    def __init__(self) -> None:
        self.described: dict[str, Any] = {}
        self.state: list[MbufState] | None = None
        self.named: dict[tuple[str, int], int] = {}


class ExpectedState:
    """The state that the trace has stated so far. What it doesn't mention again must not change.

    Identities are compared one to one: the same number is the same object for as long as it lives.
    """

    def __init__(self) -> None:
        self._chains: dict[int, ExpectedChain] = {}
        self._counters: dict[str, int] = {}
        self._drained: dict[str, int] = {}
        self._objects: dict[tuple[str, int], int] = {}

    def compare(self, op: Op, result: Any, machine: Machine) -> None:
        """Raise `Difference` unless the machine is in the state that the trace states after the operation."""
        expect("r", op.get("r"), result)
        expect("ev", op.get("ev", []), machine.ev)
        for number, chain in op.get("chg", {}).items():
            if chain is None:
                del self._chains[int(number)]
            else:
                expected = self._chains.setdefault(int(number), ExpectedChain())
                expected.described, expected.state = dict(flat("", chain)), None
        self._compare_chains(machine.chain_states())
        self._compare_counters(op.get("st", {}), machine.counters())

    def _compare_chains(self, states: dict[int, list[MbufState]]) -> None:
        expect("handles", sorted(self._chains), sorted(states))
        changed = [handle for handle, chain in self._chains.items() if chain.state != states[handle]]
        if not changed:
            return
        named: dict[tuple[str, int], int] = {}
        for handle, chain in self._chains.items():
            if handle not in changed:
                named |= chain.named
        for handle in changed:
            chain = self._chains[handle]
            chain.state, chain.named = states[handle], {}
            self._compare_chain(handle, chain, named)
            named |= chain.named

    def _compare_chain(self, handle: int, chain: ExpectedChain, named: dict[tuple[str, int], int]) -> None:
        ours = dict(flat("", describe(states := chain.state or [])))
        expect(f"chain {handle} mbufs", len({path.partition(".")[0] for path in chain.described}), len(states))
        for field in chain.described | ours:
            expected, got = chain.described.get(field, NOTHING), ours.get(field, NOTHING)
            kind = "page" if ".x.pg." in field else IDENTITIES.get(field.partition(".")[2])
            if kind and NOTHING not in (expected, got):
                chain.named.setdefault((kind, got), named.get((kind, got), expected))
                got = self._number(kind, expected, got, chain.named)
            expect(f"chain {handle} mbuf {field}", expected, got)

    def _number(self, kind: str, number: int, ours: int, named: dict[tuple[str, int], int]) -> Any:
        """The trace's number of our object; the expected one if our object is new."""
        if self._objects.setdefault((kind, number), ours) != ours:
            return f"another {kind}"
        return named[kind, ours]

    def _compare_counters(self, changed: dict[str, int], found: dict[str, int]) -> None:
        before, self._counters = self._counters, self._counters | changed
        drained, self._drained = self._drained, {name: found[name] for name in DRAINS}
        expect("counters", sorted(self._counters), sorted(found))
        for name, expected in self._counters.items():
            if name not in DRAINS:
                expect(name, expected, found[name])
            elif before:
                # Only whether the drain was called is compared, not how often.
                expect(f"{name} called", expected > before[name], found[name] > drained[name])
