"""One case: a method is called, user code comes in at a hook and does something hostile.

It must be as if that had been done before the call, or after it; or the call is refused with an error of ours, and only
what was done has changed anything. What would be right is found by doing just that, in scenes like this one.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Any, NamedTuple

from hostile.failures import Failures
from hostile.hooks import (
    ACTS,
    AT_LIMIT,
    BLIND,
    ENDS,
    OBJECTS,
    SETTLING,
    STEPS,
    Ouch,
    Trigger,
    applicable,
    conversions,
    convert,
    place,
    surroundings,
)
from hostile.recipes import recipe
from hostile.scene import STORAGE, Scene, roomy, scarce
from hostile.surface import Member, members
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
    """What came of a call."""

    error: BaseException | None
    picture: Any
    fired: int
    refused: bool
    wrong: str


class Unfit(Exception):
    """There is no such thing in such a scene."""


@cache
def table() -> dict[str, Member]:
    """All members by name."""
    return {str(member): member for member in members()}


@cache
def hooks() -> dict[str, tuple[str, ...]]:
    """The hooks of every member."""
    pool = roomy()
    found: dict[str, tuple[str, ...]] = {}
    for name, member in table().items():
        scene = Scene(pool, "packet")
        mine: list[str] = []
        for param in member.params:
            make = recipe(member, param)
            if make is not None:
                with contextlib.suppress(MbufError, AttributeError):
                    mine += [f"arg:{param.name}:{kind}" for kind in conversions(param, make(scene))]
        found[name] = (*mine, *applicable(member), *surroundings())
        scene.end()
    pool.close()
    return found


def every() -> Iterator[Case]:
    """Every case there is, in order."""
    for name, mine in hooks().items():
        for hook in mine:
            for storage in STORAGE:
                for act in ACTS:
                    yield Case(name, storage, hook, act)


def count() -> int:
    """How many those are."""
    return sum(map(len, hooks().values())) * len(STORAGE) * len(ACTS)


def sample(seed: int) -> Iterator[Case]:
    """Cases without end, the same for the same seed. Arguments are rarer than surroundings, and come as often."""
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


def invoke(member: Member, subject: Any, arguments: list[Any], scene: Scene) -> Any:
    """Ask a member."""
    if member.kind == "get":
        return getattr(subject, member.name)
    if member.kind == "set":
        return setattr(subject, member.name, *arguments)
    if member.kind == "delete":
        return delattr(subject, member.name)
    if member.kind == "operator":
        return OPERATE[member.name](subject, scene, member.role)
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


def _drop(subject: Any, scene: Scene, role: str) -> None:
    # The caller has one reference more, and lets go of it on its way out.
    setattr(scene, role, None)


OPERATE: dict[str, Callable[[Any, Scene, str], Any]] = {
    "len": lambda x, s, r: len(x),
    "bytes": lambda x, s, r: bytes(x),
    "iter": lambda x, s, r: [bytes(v) if isinstance(v, memoryview) else v for v in x],
    "eq": lambda x, s, r: x == b"some bytes",
    "contains": lambda x, s, r: b"x" in x,
    "repr": lambda x, s, r: len(repr(x)) and None,
    "bool": lambda x, s, r: bool(x),
    "view": lambda x, s, r: bytes(memoryview(x)),
    "drop": _drop,
    "getitem": lambda x, s, r: x["kern.ipc.nmbclusters"],
    "setitem": lambda x, s, r: x.__setitem__("kern.ipc.nmbclusters", 3000),
}


def play(case: Case, mode: str, pool: Pool) -> Outcome:
    """Set the scene and do it: `hook` as the case says; or the `call`, the `act`, or both, one after the other."""
    scene = Scene(pool, case.storage)
    trigger = Trigger()
    try:
        try:
            work = _Work(case, mode, scene, trigger)
        except (MbufError, AttributeError) as error:
            raise Unfit(str(error)) from None
        error = work.go()
        blind = case.act in BLIND or case.member.partition(".")[2] in BLIND
        try:
            shown: Any = scene.picture(work.result, blind)
        except Exception as bad:
            shown = f"no picture: {bad!r}"
        if work.result is not None:
            scene.made.append(work.result)
        work.clear()
        fired, refused = trigger.fired, trigger.refused
        trigger.act = None
        wrong = scene.end()
        return Outcome(error, shown, fired, refused, wrong)
    except Unfit:
        trigger.act = None
        scene.end()
        raise


class _Work:
    """A call about to be made."""

    def __init__(self, case: Case, mode: str, scene: Scene, trigger: Trigger) -> None:
        self.mode, self.scene, self.trigger, self.hook = mode, scene, trigger, case.hook
        self.member = table()[case.member]
        where, _, thing = case.hook.partition(".")
        if where in ("m", "n") and not OBJECTS[thing](scene, trigger, getattr(scene, where)):
            raise Unfit("no header")
        self.subject = getattr(scene, self.member.role)
        if self.subject is None:
            raise Unfit("none")
        self.plain = [self._argument(param, "") for param in self.member.params]
        self.arguments = list(self.plain)
        if case.hook.startswith("arg:"):
            _, name, kind = case.hook.split(":")
            n = next(n for n, param in enumerate(self.member.params) if param.name == name)
            self.arguments[n] = convert(kind, self.plain[n], trigger)
        scene.again = lambda: scene.made.append(invoke(self.member, self.subject, self.plain, scene))
        trigger.act = lambda: ACTS[case.act](scene)
        if case.hook in AT_LIMIT:
            scene.fill()
        self.result: Any = None

    def _argument(self, param: Any, kind: str) -> Any:
        make = recipe(self.member, param)
        if make is None:
            # Which a test of its own complains of.
            raise Unfit(f"no recipe for {self.member} {param.name}")
        return make(self.scene)

    def go(self) -> BaseException | None:
        """Do it; what the call raised."""
        error = None
        if self.mode in ("act", "act_call"):
            self._act()
        if self.mode != "act":
            error = self._call()
        if self.mode == "call_act":
            self._act()
        return error

    def _act(self) -> None:
        with contextlib.suppress(Ouch, KeyboardInterrupt):
            self.trigger.run()

    def _call(self) -> BaseException | None:
        off: Callable[[], None] | None = None
        kind = self.hook.rstrip("0123456789")
        if kind in (*AT_LIMIT, "probe", "gc", "border"):
            self.trigger.skip = int(self.hook[len(kind) :] or 0)
            off = place(self.hook, self.trigger, self.scene.pool)
        self.trigger.armed = self.mode == "hook"
        try:
            self.result = invoke(self.member, self.subject, self.arguments, self.scene)
            if self.member.name == "drop":
                self.subject = None
        except BaseException as found:
            return found.with_traceback(None)
        finally:
            self.trigger.armed = False
            if off is not None:
                off()
        return None

    def clear(self) -> None:
        """Hold nothing any more."""
        self.scene.again = None
        self.subject = self.result = None
        self.plain.clear()
        self.arguments.clear()


class Player:
    """Plays cases, in pools that it uses again as long as they are whole."""

    def __init__(self) -> None:
        logging.getLogger("mbuf").addHandler(logging.NullHandler())
        logging.getLogger("mbuf").propagate = False
        sys.unraisablehook = lambda found: None
        self.pools: dict[str, Pool] = {}
        self.plays = 0
        self.failures = Failures()

    def _pool(self, case: Case) -> tuple[str, Pool]:
        kind = "scarce" if case.hook in AT_LIMIT else "roomy"
        if kind in self.pools:
            pool = self.pools.pop(kind)
            if kind == "scarce":
                # Cached packets have the clusters that the scene needs.
                pool.drain()
            return kind, pool
        return kind, scarce() if kind == "scarce" else roomy()

    def play(self, case: Case, mode: str) -> Outcome:
        """Play it, and look after the pool."""
        kind, pool = self._pool(case)
        outcome = play(case, mode, pool)
        self.plays += 1
        ended = pool.closed or case.act in ENDS or case.member in ENDS or self.plays % 50 == 0
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

    def judge(self, case: Case) -> tuple[int, str]:
        """Play a case: whether its hook was reached (how often, for a row of failures), and what is wrong."""
        if case.hook.startswith("fail:"):
            return self.failures.judge(case, table()[case.member])
        try:
            got = self.play(case, "hook")
        except Unfit:
            return False, ""
        if not got.fired:
            return False, got.wrong
        if got.wrong:
            return True, got.wrong
        if isinstance(got.picture, str):
            return True, f"torn: {got.picture}"
        return True, self._compare(case, got)

    def _compare(self, case: Case, got: Outcome) -> str:
        """Whether the outcome is one that another order has."""
        modes = ("call_act", "act_call", "act") if case.act != "none" else ("call", "act")
        if got.refused:
            modes = (*modes, "call")
        pictures: list[tuple[str, Any]] = []
        kinds: set[type[BaseException]] = {MbufError, Ouch, KeyboardInterrupt} if got.error is not None else set()
        for mode in modes:
            if mode == "act" and got.error is None:
                continue
            want = self.play(case, mode)
            if want.wrong:
                return f"{mode}: {want.wrong}"
            if want.error is not None:
                kinds.add(type(want.error))
            if (got.error is not None or want.error is None) and _same(got, want):
                pictures.clear()
                if got.error is None or isinstance(got.error, tuple(kinds)):
                    return ""
            else:
                pictures.append((mode, want.picture))
        if got.error is not None and not isinstance(got.error, tuple(kinds)):
            return f"error: {got.error!r}"
        if case.member in STEPS or (case.member, case.hook, case.act) in SETTLING:
            return ""
        return f"torn: {_difference(got, pictures)}"


def _same(got: Outcome, want: Outcome) -> bool:
    """Whether pictures agree. What a call made that raised what the act raised is gone, and so isn't counted."""
    if isinstance(want.picture, str):
        return False
    if got.error is None:
        return bool(got.picture == want.picture)
    if got.picture[0] != want.picture[0]:
        return False
    return isinstance(got.error, Ouch | KeyboardInterrupt) or bool(got.picture[2] == want.picture[2])


def _difference(got: Outcome, pictures: list[tuple[str, Any]]) -> str:
    """Where a picture differs from those that it should be one of."""
    parts = [f"raised {got.error!r}" if got.error is not None else "returned"]
    for mode, want in pictures:
        if isinstance(want, str) or isinstance(got.picture, str):
            parts.append(f"{mode}: {want!r} / {got.picture!r}")
            continue
        made = [] if got.error is not None else got.picture[1]
        ours, theirs = [*got.picture[0], *made, got.picture[2]], [*want[0], *(made and want[1]), want[2]]
        differ = [(a, b) for a, b in zip(ours, theirs, strict=False) if a != b]
        a, b = differ[0] if differ else (f"{len(ours)} things", f"{len(theirs)}")
        parts.append(f"{mode}: {a!r:.300} and not {b!r:.300}")
    return "; ".join(parts)
