"""Fault injection: for every method that requests memory, on every kind of storage, each request is refused in turn.

In these cases the hook is `fail:KIND:HOW`. KIND is zone, page, window, tag, or python for memory of the interpreter;
one request of this kind is refused (`once`), or all later ones too (`rest`). Then only counts of failures may have
changed. If the method succeeds without the memory, nothing may be lost.
"""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from faults import FaultInjector
from hostile.arguments import WAITOK, argument_maker
from hostile.members import Member
from hostile.scenario import STORAGE, Scenario, large_pool
from mbuf import MbufError, Pool

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:
    set_nomemory = remove_mem_hooks = None

if TYPE_CHECKING:
    from hostile.run import Case

KINDS = ("zone", "page", "window", "tag") + (("python",) if set_nomemory else ())
#: So many later requests of the interpreter are refused: it aborts after 32 refusals in a row.
MAX_LATER = 25
#: The number of a request that no method reaches.
NO_REQUEST = 1 << 40
#: So many requests of a method are refused in turn; further ones are those of bulk calls, which are all alike.
MAX_REQUESTS = 60
#: Roles whose methods may request memory.
ALLOCATING_ROLES = ("m", "pool", "sb", "st", "q", "file", "tag", "hdr", "cl", "snd", "epg", "rc", "reserve")
#: Roles for which the kind of storage makes no difference.
WITHOUT_STORAGE = ("pool", "file", "rc", "reserve", "q", "cl", "snd", "tag")
#: Methods that end a pool, or allocate only objects of the interpreter. (Python 3.12 crashes if memory runs out when
#: the generator of an audit is made.)
EXCLUDED = frozenset(
    ["pool.close", "pool.watch_memory", "pool.publish", "pool.sites", "pool.audit", "pool.file", "reserve.reinit"]
    + ["pool.aget", "pool.agethdr", "pool.agetcl", "pool.agetjcl", "pool.agetm2"]
)


def fault_cases(table: dict[str, Member]) -> Iterator["Case"]:
    """All cases, always in the same order."""
    from hostile.run import Case

    for name, member in table.items():
        if member.role not in ALLOCATING_ROLES or member.kind not in ("call", "set") or name in EXCLUDED:
            continue
        waits = {"how", "timeout"} <= {param.name for param in member.params}
        for storage in ["packet"] if member.role in WITHOUT_STORAGE else STORAGE:
            for kind in KINDS:
                if (name, kind) == ("pool.drain", "python"):
                    # It stops at an error, and what it has freed until then stays freed.
                    continue
                for how in ("once", "rest"):
                    yield Case(name, storage, f"fail:{kind}:{how}", "nowait")
                    if waits and kind != "python":
                        yield Case(name, storage, f"fail:{kind}:{how}", "waitok")


class FaultInjectionRunner:
    """Runs cases in a pool whose requests for memory can be refused."""

    def __init__(self) -> None:
        self._faults: FaultInjector | None = None
        self._pool: Pool | None = None
        self._runs = 0
        self._requests: dict[tuple[str, str, str], Counter[str]] = {}

    def evaluate(self, case: "Case", member: Member) -> tuple[int, str]:
        """Refuse each request in turn: how many were refused, and a description of the fault found, empty if none."""
        _, kind, how = case.hook.split(":")
        hits = 0
        if kind != "python":
            key = (case.member, case.storage, case.act)
            if key not in self._requests:
                _, wrong = self._run(case, member, "", NO_REQUEST, False)
                assert self._faults is not None
                self._requests[key] = self._faults.requests.copy()
                if wrong:
                    self._faults = None
                    return 1, wrong
            if not self._requests[key][kind]:
                return 0, ""
        for k in range(1, MAX_REQUESTS):
            hit, wrong = self._run(case, member, kind, k, how == "rest")
            hits += hit
            if wrong:
                self._faults = self._pool = None
                return hits, f"{wrong} (request {k})"
            if not hit:
                break
        return hits, ""

    def _injector(self) -> FaultInjector:
        self._runs += 1
        if self._faults is None or self._runs % 500 == 0:
            self._faults = FaultInjector(large_pool())
        return self._faults

    def _plain_pool(self) -> Pool:
        """A pool of compiled classes only: a subclass in Python needs the interpreter's memory for each call."""
        self._runs += 1
        if self._pool is None or self._runs % 500 == 0:
            self._pool = large_pool()
        return self._pool

    def _run(self, case: "Case", member: Member, kind: str, k: int, all_later: bool) -> tuple[int, str]:
        from hostile.run import invoke

        scenario = Scenario(self._plain_pool() if kind == "python" else self._injector().pool, case.storage)
        try:
            subject = getattr(scenario, member.role)
            arguments = [self._argument(member, param, scenario, case.act) for param in member.params]
        except (MbufError, AttributeError):
            scenario.end()
            return 0, ""
        if subject is None:
            scenario.end()
            return 0, ""
        before = scenario.snapshot(None, False)
        error: BaseException | None = None
        result: Any = None
        hit = 0
        if kind == "python":
            call = setattr if member.kind == "set" else getattr(subject, member.name)
            given = (subject, member.name, *arguments) if member.kind == "set" else tuple(arguments)
            result, error, hit = _call_without_memory(call, given, k, all_later)
            call = given = None
        else:
            assert self._faults is not None
            faults = self._faults
            faults.kind = kind
            with faults.failing(k, all_later):
                try:
                    result = invoke(member, subject, arguments, scenario)
                except Exception as found:
                    error = found.with_traceback(None)
            hit = int(faults.refusals > 0)
            faults.kind = ""
        wrong = ""
        if hit and error is not None:
            if not isinstance(error, MbufError | MemoryError):
                wrong = f"error: {error!r}"
            else:
                after = scenario.snapshot(None, False)
                if after != before:
                    differ = [
                        (a, b) for a, b in zip(after[0] + [after[2]], before[0] + [before[2]], strict=False) if a != b
                    ]
                    wrong = f"changed: {error!r}: {differ[:1]!r:.300}"
        scenario.made.append(result)
        # Drop all references to the scenario.
        error = result = subject = None
        arguments.clear()
        ended = scenario.end()
        return hit, wrong or ended

    def _argument(self, member: Member, param: Any, scenario: Scenario, act: str) -> Any:
        if act == "waitok" and param.name in WAITOK:
            return WAITOK[param.name]
        make = argument_maker(member, param)
        assert make is not None
        return make(scenario)


Result = tuple[Any, BaseException | None, int]


def _call_without_memory(call: Any, given: tuple[Any, ...], k: int, all_later: bool) -> Result:
    """Call it while the k-th request of the interpreter for memory fails."""
    result = error = None
    set_nomemory(k - 1, k + MAX_LATER if all_later else k)
    try:
        result = call(*given)
    except BaseException as found:
        remove_mem_hooks()
        error = found.with_traceback(None)
    remove_mem_hooks()
    # If the call succeeded, the number of its requests is unknown.
    return result, error, int(isinstance(error, MemoryError) and not isinstance(error, MbufError))
