"""The error for an unknown name, with the known names that are similar."""

import re
from collections.abc import Iterable

#: So many names can be listed in an error.
_MAX_LISTED = 12

#: Shorter names are the end of too many others.
_MAX_SHORT = 8


def near(name: str, names: Iterable[str], cutoff: float = 0.8) -> str | None:
    """The known name most similar to `name`, also if only its last part is; None if none is similar."""
    from difflib import get_close_matches

    known = list(names)
    whole = {each.lower(): each for each in known}
    last = {each.lower().rpartition(".")[2]: each for each in reversed(known)}
    wanted = name.lower()
    # Dots for underscores, or something in front: kern.vm.kmem.size is vm.kmem_size.
    for each in known:
        if len(each) > _MAX_SHORT and _letters(wanted).endswith(_letters(each)):
            return each
    for table, part in ((whole, wanted), (last, wanted.rpartition(".")[2])):
        found = get_close_matches(part, table, 1, cutoff)
        if found:
            return table[found[0]]
    return None


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def unknown(what: str, name: str, names: Iterable[str]) -> str:
    """The message for an unknown name: the similar name, or else at most 12 names that are known or contain it."""
    known = list(names)
    similar = near(name, known)
    if similar is not None:
        return f"unknown {what} {name!r}: did you mean {similar}?"
    listed = known if len(known) <= _MAX_LISTED else [each for each in known if name and name.lower() in each.lower()]
    if not 0 < len(listed) <= _MAX_LISTED:
        return f"unknown {what} {name!r}"
    return f"unknown {what} {name!r}: there are {', '.join(listed)}"
