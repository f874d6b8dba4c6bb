"""What a trace has told so far, and whether the machine is as it says."""

from typing import Any

from conformance.look import Look, describe, flat
from conformance.machine import DRAINS, Machine, Op

#: Fields that hold the identity of something, and of what.
IDENTITIES = {"id": "mbuf", "np": "mbuf", "x.b": "buffer", "x.pgb": "page"}

#: What is shown for a field that isn't there.
NOTHING = "nothing"


class Difference(AssertionError):
    """The library did something else than the kernel."""


def expect(what: str, wanted: Any, got: Any) -> None:
    """Raise `Difference` unless the two are equal."""
    if wanted != got:
        raise Difference(f"{what}: expected {wanted}, got {got}")


def expect_same(wanted: dict[str, Any], got: dict[str, Any]) -> None:
    """Raise `Difference`, which names the place, unless two states are equal."""
    before, after = dict(flat("", wanted)), dict(flat("", got))
    for path in before | after:
        expect(f"state.{path}", before.get(path, NOTHING), after.get(path, NOTHING))


class Chain:
    """A chain as the trace has told of it last, as it looked then, and which object of ours each number named."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}
        self.look: list[Look] | None = None
        self.named: dict[tuple[str, int], int] = {}


class Known:
    """The state that the trace has told of so far; what it doesn't mention again must stay.

    Identities are compared one to one: the same number is the same object for as long as it lives.
    """

    def __init__(self) -> None:
        self._chains: dict[int, Chain] = {}
        self._counters: dict[str, int] = {}
        self._drained: dict[str, int] = {}
        self._objects: dict[tuple[str, int], int] = {}

    def compare(self, op: Op, result: Any, machine: Machine) -> None:
        """Find all as the trace says that it is after an operation, or raise `Difference`."""
        expect("r", op.get("r"), result)
        expect("ev", op.get("ev", []), machine.ev)
        for number, chain in op.get("chg", {}).items():
            if chain is None:
                del self._chains[int(number)]
            else:
                known = self._chains.setdefault(int(number), Chain())
                known.told, known.look = dict(flat("", chain)), None
        self._compare_chains(machine.looks())
        self._compare_counters(op.get("st", {}), machine.counters())

    def _compare_chains(self, looks: dict[int, list[Look]]) -> None:
        expect("handles", sorted(self._chains), sorted(looks))
        changed = [handle for handle, chain in self._chains.items() if chain.look != looks[handle]]
        if not changed:
            return
        named: dict[tuple[str, int], int] = {}
        for handle, chain in self._chains.items():
            if handle not in changed:
                named |= chain.named
        for handle in changed:
            chain = self._chains[handle]
            chain.look, chain.named = looks[handle], {}
            self._compare_chain(handle, chain, named)
            named |= chain.named

    def _compare_chain(self, handle: int, chain: Chain, named: dict[tuple[str, int], int]) -> None:
        ours = dict(flat("", describe(looks := chain.look or [])))
        expect(f"chain {handle} mbufs", len({path.partition(".")[0] for path in chain.told}), len(looks))
        for field in chain.told | ours:
            wanted, got = chain.told.get(field, NOTHING), ours.get(field, NOTHING)
            kind = "page" if ".x.pg." in field else IDENTITIES.get(field.partition(".")[2])
            if kind and NOTHING not in (wanted, got):
                chain.named.setdefault((kind, got), named.get((kind, got), wanted))
                got = self._number(kind, wanted, got, chain.named)
            expect(f"chain {handle} mbuf {field}", wanted, got)

    def _number(self, kind: str, number: int, ours: int, named: dict[tuple[str, int], int]) -> Any:
        """The trace's number of an object of ours: the wanted one if nothing speaks against it."""
        if self._objects.setdefault((kind, number), ours) != ours:
            return f"another {kind}"
        return named[kind, ours]

    def _compare_counters(self, changed: dict[str, int], found: dict[str, int]) -> None:
        before, self._counters = self._counters, self._counters | changed
        drained, self._drained = self._drained, {name: found[name] for name in DRAINS}
        expect("counters", sorted(self._counters), sorted(found))
        for name, wanted in self._counters.items():
            if name not in DRAINS:
                expect(name, wanted, found[name])
            elif before:
                # How often is left open, whether at all is not.
                expect(f"{name} called", wanted > before[name], found[name] > drained[name])
