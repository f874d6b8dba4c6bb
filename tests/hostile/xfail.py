"""Cases that are expected to fail and are left out: see xfail.txt, which may only become shorter.

Each line is `MEMBER HOOK ACT REASON`, with * for any. MBUF_HOSTILE_ALL in the environment ignores the file.
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
    home = HERE / ("xfail.txt" if compiled() else "xfail_pure.txt")
    if os.environ.get("MBUF_HOSTILE_ALL") or not home.exists():
        return []
    found = []
    for line in home.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            member, hook, act, reason = line.split(maxsplit=3)
            found.append((member, hook, act, reason))
    return found


@cache
def _reason(member: str, hook: str, act: str) -> str:
    for a, b, c, reason in _lines():
        if fnmatchcase(member, a) and fnmatchcase(hook, b) and fnmatchcase(act, c):
            return reason
    return ""


def xfail_reason(case: "Case") -> str:
    """Cases that are expected to fail and are left out: see xfail.txt, which may only become shorter.

    Each line is `MEMBER HOOK ACT REASON`, with * for any. MBUF_HOSTILE_ALL in the environment ignores the file.
    """
    return _reason(case.member, case.hook, case.act)
