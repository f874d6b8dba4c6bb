"""Runs one case: a method is called, and at a hook in it user code runs, which does a hostile act.

The result must be the same as if the act came before or after the call; or the call raises an error of mbuf, and only
the act has changed something. To find the right results, the same scenario is run again in each of these orders.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Any, NamedTuple

from hostile.arguments import WAITOK, argument_maker
from hostile.fault_injection import FaultInjectionRunner
from hostile.hooks import (
    ACTS,
    AT_LIMIT,
    ENDS_POOL,
    OBJECTS,
    SMALLER_CLUSTER,
    STEPS,
    UNINITIALIZED,
    ActError,
    Trigger,
    attach,
    conversions,
    convert,
    environment_hooks,
    packet_hooks,
)
from hostile.members import Member, members
from hostile.net import CALLS, evaluate_net
from hostile.scenario import STORAGE, Scenario, large_pool, small_pool
from mbuf import Mbuf, MbufError, Pool


class Case(NamedTuple):
    """A member, the kind of storage, the hook and the act, by their names."""

    member: str
    storage: str
    hook: str
    act: str

    def __str__(self) -> str:
        return "/".join(self)


class Outcome(NamedTuple):
    """The result of a run."""

    error: BaseException | None
    snapshot: Any
    fired: int
    refused: bool
    wrong: str


class NotApplicable(Exception):
    """The case can't be run in this scenario."""


@cache
def table() -> dict[str, Member]:
    """All members by name."""
    return {str(member): member for member in members()}


@cache
def hooks() -> dict[str, tuple[str, ...]]:
    """The hooks of every member."""
    pool = large_pool()
    found: dict[str, tuple[str, ...]] = {}
    for name, member in table().items():
        scenario = Scenario(pool, "packet")
        mine: list[str] = []
        for param in member.params:
            make = argument_maker(member, param)
            if make is not None:
                with contextlib.suppress(MbufError, AttributeError):
                    mine += [f"arg:{param.name}:{kind}" for kind in conversions(param, make(scenario))]
        found[name] = (*mine, *packet_hooks(member), *environment_hooks())
        scenario.end()
    pool.close()
    return found


def every() -> Iterator[Case]:
    """Every case, in order."""
    for name, mine in hooks().items():
        for hook in mine:
            for storage in STORAGE:
                for act in ACTS:
                    yield Case(name, storage, hook, act)


def count() -> int:
    """The number of all cases."""
    return sum(map(len, hooks().values())) * len(STORAGE) * len(ACTS)


def sample(seed: int) -> Iterator[Case]:
    """Endless random cases, the same for the same seed. Hooks in arguments are chosen as often as other hooks."""
    random = Random(seed)
    storages, acts = list(STORAGE), list(ACTS)
    calls = [name for name, member in table().items() if member.kind in ("call", "operator")]
    fields = [name for name, member in table().items() if member.kind not in ("call", "operator")]
    while True:
        name = random.choice(calls if random.random() < 0.85 else fields)
        mine = hooks()[name]
        arguments = [hook for hook in mine if hook.startswith("arg:")]
        hook = random.choice(arguments if arguments and random.random() < 0.4 else mine)
        yield Case(name, random.choice(storages), hook, random.choice(acts))


def invoke(member: Member, subject: Any, arguments: list[Any], scenario: Scenario) -> Any:
    """Call a method, or read, set or delete a field."""
    if member.kind == "get":
        return getattr(subject, member.name)
    if member.kind == "set":
        return setattr(subject, member.name, *arguments)
    if member.kind == "delete":
        return delattr(subject, member.name)
    if member.kind == "operator":
        return OPERATE[member.name](subject, scenario, member.role)
    result = getattr(subject, member.name)(*arguments)
    if hasattr(result, "send") and hasattr(result, "cr_frame"):
        try:
            result.send(None)
        except StopIteration as done:
            return done.value
        finally:
            result.close()
    if hasattr(result, "__enter__") and not isinstance(result, Mbuf) and member.role in ("pool", "reserve", "probes"):
        with result:
            return None
    return result


def _drop(subject: Any, scenario: Scenario, role: str) -> None:
    # The caller drops the last reference afterwards.
    setattr(scenario, role, None)


OPERATE: dict[str, Callable[[Any, Scenario, str], Any]] = {
    "len": lambda x, s, r: len(x),
    "bytes": lambda x, s, r: bytes(x),
    "iter": lambda x, s, r: [bytes(v) if isinstance(v, memoryview) else v for v in x],
    "eq": lambda x, s, r: x == b"some bytes",
    "contains": lambda x, s, r: b"x" in x,
    "repr": lambda x, s, r: len(repr(x)) and None,
    "bool": lambda x, s, r: bool(x),
    "view": lambda x, s, r: bytes(memoryview(x)),
    "drop": _drop,
    "getitem": lambda x, s, r: x[150] if r == "m" else x["kern.ipc.nmbclusters"],
    "setitem": lambda x, s, r: x.__setitem__("kern.ipc.nmbclusters", 3000),
}


def run_case(case: Case, mode: str, pool: Pool) -> Outcome:
    """Build the scenario and run the case: mode `hook`; or only the `call` or the `act`, or both in an order."""
    scenario = Scenario(pool, case.storage)
    trigger = Trigger()
    try:
        try:
            work = _Work(case, mode, scenario, trigger)
        except (MbufError, AttributeError) as error:
            raise NotApplicable(str(error)) from None
        error = work.go()
        ignore_bytes = case.act in UNINITIALIZED or case.member.partition(".")[2] in UNINITIALIZED
        try:
            state: Any = scenario.snapshot(work.result, ignore_bytes)
        except Exception as bad:
            state = f"no snapshot: {bad!r}"
        if work.result is not None:
            scenario.made.append(work.result)
        work.clear()
        fired, refused = trigger.fired, trigger.refused
        trigger.act = None
        wrong = scenario.end()
        return Outcome(error, state, fired, refused, wrong)
    except NotApplicable:
        trigger.act = None
        scenario.end()
        raise


class _Work:
    """A call with its arguments and its hook."""

    def __init__(self, case: Case, mode: str, scenario: Scenario, trigger: Trigger) -> None:
        self.mode, self.scenario, self.trigger, self.hook = mode, scenario, trigger, case.hook
        self.member = table()[case.member]
        where, _, thing = case.hook.partition(".")
        if where in ("m", "n") and not OBJECTS[thing](scenario, trigger, getattr(scenario, where)):
            raise NotApplicable("no header")
        self.subject = getattr(scenario, self.member.role)
        if self.subject is None:
            raise NotApplicable("no subject")
        self.plain = [self._argument(param, "") for param in self.member.params]
        if case.hook.startswith("arg:timeout:"):
            # Only a call that waits looks at it.
            self.plain = [WAITOK.get(p.name, made) for p, made in zip(self.member.params, self.plain, strict=True)]
        self.arguments = list(self.plain)
        if case.hook.startswith("arg:"):
            _, name, kind = case.hook.split(":")
            n = next(n for n, param in enumerate(self.member.params) if param.name == name)
            self.arguments[n] = convert(kind, self.plain[n], trigger)
        scenario.again = lambda: scenario.made.append(invoke(self.member, self.subject, self.plain, scenario))
        trigger.act = lambda: ACTS[case.act](scenario)
        if case.hook in AT_LIMIT:
            scenario.fill()
        self.result: Any = None

    def _argument(self, param: Any, kind: str) -> Any:
        make = argument_maker(self.member, param)
        if make is None:
            # `test_every_method_has_arguments` reports it.
            raise NotApplicable(f"no argument for {self.member} {param.name}")
        return make(self.scenario)

    def go(self) -> BaseException | None:
        """Run it; returns what the call raised."""
        error = None
        if self.mode in ("act", "act_call"):
            self._act()
        if self.mode != "act":
            error = self._call()
        if self.mode == "call_act":
            self._act()
        return error

    def _act(self) -> None:
        with contextlib.suppress(ActError, KeyboardInterrupt):
            self.trigger.run()

    def _call(self) -> BaseException | None:
        off: Callable[[], None] | None = None
        kind = self.hook.rstrip("0123456789")
        if kind in (*AT_LIMIT, "probe", "gc", "border"):
            self.trigger.skip = int(self.hook[len(kind) :] or 0)
            off = attach(self.hook, self.trigger, self.scenario.pool)
        self.trigger.enabled = self.mode == "hook"
        try:
            self.result = invoke(self.member, self.subject, self.arguments, self.scenario)
            if self.member.name == "drop":
                self.subject = None
        except BaseException as found:
            return found.with_traceback(None)
        finally:
            self.trigger.enabled = False
            if off is not None:
                off()
        return None

    def clear(self) -> None:
        """Drop all references."""
        self.scenario.again = None
        self.subject = self.result = None
        self.plain.clear()
        self.arguments.clear()


class CaseRunner:
    """Runs cases, in pools that it uses again until a case has changed or damaged them."""

    def __init__(self) -> None:
        logging.getLogger("mbuf").addHandler(logging.NullHandler())
        logging.getLogger("mbuf").propagate = False
        sys.unraisablehook = lambda found: None
        self.pools: dict[str, Pool] = {}
        self.runs = 0
        self.fault_injection = FaultInjectionRunner()

    def _pool(self, case: Case) -> tuple[str, Pool]:
        kind = "small" if case.hook in AT_LIMIT else "large"
        if kind in self.pools:
            pool = self.pools.pop(kind)
            if kind == "small":
                # Cached packets have the clusters that the scenario needs.
                pool.drain()
            return kind, pool
        return kind, small_pool() if kind == "small" else large_pool()

    def run(self, case: Case, mode: str) -> Outcome:
        """Run a case, and close its pool or keep it for the next."""
        kind, pool = self._pool(case)
        outcome = run_case(case, mode, pool)
        self.runs += 1
        ended = pool.closed or case.act in ENDS_POOL or case.member in ENDS_POOL or self.runs % 50 == 0
        if outcome.wrong:
            return outcome
        if not ended:
            self.pools[kind] = pool
            return outcome
        try:
            if pool.reserve.started:
                pool.reserve.finish()
            pool.close()
            if pool.vm.used:
                return outcome._replace(wrong=f"pages: {pool.vm.used} are used after the pool was closed")
        except Exception as error:
            return outcome._replace(wrong=f"close: {error!r}")
        return outcome

    def evaluate(self, case: Case) -> tuple[int, str]:
        """Run a case: whether its hook was reached (for fault injection how often), and what is wrong."""
        if case.hook.startswith("fail:"):
            return self.fault_injection.evaluate(case, table()[case.member])
        if case.member in CALLS:
            return self._evaluate_net(case)
        try:
            got = self.run(case, "hook")
        except NotApplicable:
            return False, ""
        if not got.fired:
            return False, got.wrong
        if got.wrong:
            return True, got.wrong
        if isinstance(got.snapshot, str):
            return True, f"torn: {got.snapshot}"
        return True, self._compare(case, got)

    def _evaluate_net(self, case: Case) -> tuple[bool, str]:
        kind, pool = self._pool(case)
        fired, wrong = evaluate_net(case, pool)
        if not wrong and not pool.closed and case.act not in ENDS_POOL:
            self.pools[kind] = pool
        elif not wrong:
            pool.close()
            if pool.vm.used:
                wrong = f"pages: {pool.vm.used} are used after the pool was closed"
        return fired, wrong

    def _compare(self, case: Case, got: Outcome) -> str:
        """Compare the outcome with those of the other orders; returns what is wrong."""
        modes = ("call_act", "act_call", "act") if case.act != "none" else ("call", "act")
        if got.refused:
            modes = (*modes, "call")
        snapshots: list[tuple[str, Any]] = []
        kinds: set[type[BaseException]] = {MbufError, ActError, KeyboardInterrupt} if got.error is not None else set()
        for mode in modes:
            if mode == "act" and got.error is None:
                continue
            expected = self.run(case, mode)
            if expected.wrong:
                return f"{mode}: {expected.wrong}"
            if expected.error is not None:
                kinds.add(type(expected.error))
            if (got.error is not None or expected.error is None) and _same(got, expected):
                snapshots.clear()
                if got.error is None or isinstance(got.error, tuple(kinds)):
                    return ""
            else:
                snapshots.append((mode, expected.snapshot))
        if got.error is not None and not isinstance(got.error, tuple(kinds)):
            return f"error: {got.error!r}"
        if case.member in STEPS or (case.member, case.hook, case.act) in SMALLER_CLUSTER:
            return ""
        return f"torn: {_difference(got, snapshots)}"


def _same(got: Outcome, expected: Outcome) -> bool:
    """True if the snapshots are equal. If the call raised what the act raised, counts aren't compared."""
    if isinstance(expected.snapshot, str):
        return False
    if got.error is None:
        return bool(got.snapshot == expected.snapshot)
    if got.snapshot[0] != expected.snapshot[0]:
        return False
    return isinstance(got.error, ActError | KeyboardInterrupt) or bool(got.snapshot[2] == expected.snapshot[2])


def _difference(got: Outcome, snapshots: list[tuple[str, Any]]) -> str:
    """A description of how a snapshot differs from the expected ones."""
    parts = [f"raised {got.error!r}" if got.error is not None else "returned"]
    for mode, expected in snapshots:
        if isinstance(expected, str) or isinstance(got.snapshot, str):
            parts.append(f"{mode}: {expected!r} / {got.snapshot!r}")
            continue
        made = [] if got.error is not None else got.snapshot[1]
        ours, theirs = [*got.snapshot[0], *made, got.snapshot[2]], [*expected[0], *(made and expected[1]), expected[2]]
        differ = [(a, b) for a, b in zip(ours, theirs, strict=False) if a != b]
        a, b = differ[0] if differ else (f"{len(ours)} things", f"{len(theirs)}")
        parts.append(f"{mode}: {a!r:.300} and not {b!r:.300}")
    return "; ".join(parts)
