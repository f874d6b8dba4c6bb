"""Names that people get wrong: which one they meant."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

#: So many names can be listed in an error.
_FEW = 12

#: Shorter names are the end of too many others.
_SHORT = 8


def near(name: str, names: Iterable[str], cutoff: float = 0.8) -> str | None:
    """The name that was meant, if there is one like it; its last part may be enough."""
    known = list(names)
    whole = {each.lower(): each for each in known}
    last = {each.lower().rpartition(".")[2]: each for each in reversed(known)}
    asked = name.lower()
    # Dots for underscores, or something in front: kern.vm.kmem.size is vm.kmem_size.
    for each in known:
        if len(each) > _SHORT and _letters(asked).endswith(_letters(each)):
            return each
    for table, part in ((whole, asked), (last, asked.rpartition(".")[2])):
        found = get_close_matches(part, table, 1, cutoff)
        if found:
            return table[found[0]]
    return None


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def unknown(what: str, name: str, names: Iterable[str]) -> str:
    """The line that says that there is no such name, and what may have been meant."""
    known = list(names)
    meant = near(name, known)
    if meant is not None:
        return f"unknown {what} {name!r}: did you mean {meant}?"
    listed = known if len(known) <= _FEW else [each for each in known if name and name.lower() in each.lower()]
    if not 0 < len(listed) <= _FEW:
        return f"unknown {what} {name!r}"
    return f"unknown {what} {name!r}: there are {', '.join(listed)}"
