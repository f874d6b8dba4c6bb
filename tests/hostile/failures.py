"""Every method that asks for memory, on every kind of storage, refused at its first request, its second, ...

A row is a case whose hook is `fail:KIND:HOW`: of KIND (zone, page, window, tag, or python for the interpreter's own
memory) one request is refused (`once`), or all later ones too (`rest`). Nothing may have changed then but counts of
failures; where a method does without what it asked for, nothing is lost.
"""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hostile.recipes import recipe
from hostile.scene import STORAGE, Scene, roomy
from hostile.surface import Member
from mbuf import M_WAITOK, MbufError
from packet.failing import Scarce

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:
    set_nomemory = remove_mem_hooks = None

if TYPE_CHECKING:
    from hostile.run import Case

KINDS = ("zone", "page", "window", "tag") + (("python",) if set_nomemory else ())
#: Most requests of the interpreter that are refused after the first: it gives up itself after 32 in a row.
LATER = 25
#: A request that no method makes.
NEVER = 1 << 40
#: More requests than a method makes here; those of a bulk call repeat themselves.
MOST = 60
#: Roles whose methods may ask for memory.
ASKING = ("m", "pool", "sb", "st", "q", "file", "tag", "hdr", "cl", "snd", "epg", "rc", "reserve")
#: Roles to which the kind of storage is nothing.
APART = ("pool", "file", "rc", "reserve", "q", "cl", "snd", "tag")
#: What ends a pool, or is nothing but the interpreter's own. (Python 3.12 crashes where there is no memory to make a
#: generator of an audit.)
LEFT_OUT = frozenset(
    ["pool.close", "pool.watch_memory", "pool.sites", "pool.audit", "pool.file", "reserve.reinit"]
    + ["pool.aget", "pool.agethdr", "pool.agetcl", "pool.agetjcl", "pool.agetm2"]
)


def rows(table: dict[str, Member]) -> Iterator["Case"]:
    """All rows, in an order that is always the same."""
    from hostile.run import Case

    for name, member in table.items():
        if member.role not in ASKING or member.kind not in ("call", "set") or name in LEFT_OUT:
            continue
        waits = {"how", "timeout"} <= {param.name for param in member.params}
        for storage in ["packet"] if member.role in APART else STORAGE:
            for kind in KINDS:
                for how in ("once", "rest"):
                    yield Case(name, storage, f"fail:{kind}:{how}", "nowait")
                    if waits and kind != "python":
                        yield Case(name, storage, f"fail:{kind}:{how}", "waitok")


class Failures:
    """Plays rows in a pool whose memory can be refused."""

    def __init__(self) -> None:
        self.scarce: Scarce | None = None
        self.played = 0
        self._asks: dict[tuple[str, str, str], Counter[str]] = {}

    def judge(self, case: "Case", member: Member) -> tuple[int, str]:
        """Refuse each request in turn; how many were refused, and what is wrong."""
        _, kind, how = case.hook.split(":")
        hits = 0
        if kind != "python":
            key = (case.member, case.storage, case.act)
            if key not in self._asks:
                _, wrong = self._one(case, member, "", NEVER, False)
                assert self.scarce is not None
                self._asks[key] = self.scarce.asked.copy()
                if wrong:
                    self.scarce = None
                    return 1, wrong
            if not self._asks[key][kind]:
                return 0, ""
        for k in range(1, MOST):
            hit, wrong = self._one(case, member, kind, k, how == "rest")
            hits += hit
            if wrong:
                self.scarce = None
                return hits, f"{wrong} (request {k})"
            if not hit:
                break
        return hits, ""

    def _pool(self) -> Scarce:
        self.played += 1
        if self.scarce is None or self.played % 500 == 0:
            self.scarce = Scarce(roomy())
        return self.scarce

    def _one(self, case: "Case", member: Member, kind: str, k: int, rest: bool) -> tuple[int, str]:
        from hostile.run import invoke

        scarce = self._pool()
        scene = Scene(scarce.pool, case.storage)
        try:
            subject = getattr(scene, member.role)
            arguments = [self._argument(member, param, scene, case.act) for param in member.params]
        except (MbufError, AttributeError):
            scene.end()
            return 0, ""
        if subject is None:
            scene.end()
            return 0, ""
        before = scene.picture(None, False)
        error: BaseException | None = None
        result: Any = None
        hit = 0
        if kind == "python":
            call = setattr if member.kind == "set" else getattr(subject, member.name)
            given = (subject, member.name, *arguments) if member.kind == "set" else tuple(arguments)
            result, error, hit = _starved(call, given, k, rest)
            call = given = None
        else:
            scarce.only = kind
            with scarce.refusing(k, rest):
                try:
                    result = invoke(member, subject, arguments, scene)
                except Exception as found:
                    error = found.with_traceback(None)
            hit = int(scarce.hits > 0)
            scarce.only = ""
        wrong = ""
        if hit and error is not None:
            if not isinstance(error, MbufError | MemoryError):
                wrong = f"error: {error!r}"
            else:
                after = scene.picture(None, False)
                if after != before:
                    differ = [
                        (a, b) for a, b in zip(after[0] + [after[2]], before[0] + [before[2]], strict=False) if a != b
                    ]
                    wrong = f"changed: {error!r}: {differ[:1]!r:.300}"
        scene.made.append(result)
        # What holds the scene.
        error = result = subject = None
        arguments.clear()
        ended = scene.end()
        return hit, wrong or ended

    def _argument(self, member: Member, param: Any, scene: Scene, act: str) -> Any:
        if act == "waitok" and param.name == "how":
            return M_WAITOK
        make = recipe(member, param)
        assert make is not None
        return make(scene)


def _starved(call: Any, given: tuple[Any, ...], k: int, rest: bool) -> tuple[Any, BaseException | None, int]:
    """Call it while the interpreter finds no memory at its k-th request."""
    result = error = None
    set_nomemory(k - 1, k + LATER if rest else k)
    try:
        result = call(*given)
    except BaseException as found:
        remove_mem_hooks()
        error = found.with_traceback(None)
    remove_mem_hooks()
    # Whether it asked so often isn't known where it did without.
    return result, error, int(isinstance(error, MemoryError) and not isinstance(error, MbufError))
