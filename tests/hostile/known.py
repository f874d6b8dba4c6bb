"""Cases that are known to fail, left out until they hold: see known.txt, which may shrink only.

Each line is `MEMBER HOOK ACT REASON`, with * for any; without that file, all are played.
"""

import os
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mbuf import compiled

if TYPE_CHECKING:
    from hostile.run import Case

HERE = Path(__file__).parent


@cache
def _lines() -> list[tuple[str, str, str, str]]:
    home = HERE / ("known.txt" if compiled() else "known_pure.txt")
    if os.environ.get("MBUF_HOSTILE_ALL") or not home.exists():
        return []
    found = []
    for line in home.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            member, hook, act, reason = line.split(maxsplit=3)
            found.append((member, hook, act, reason))
    return found


@cache
def _known(member: str, hook: str, act: str) -> str:
    for a, b, c, reason in _lines():
        if fnmatchcase(member, a) and fnmatchcase(hook, b) and fnmatchcase(act, c):
            return reason
    return ""


def known(case: "Case") -> str:
    """Why a case is left out; nothing if it isn't."""
    return _known(case.member, case.hook, case.act)
