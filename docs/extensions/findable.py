"""Checks that a reader of the built pages finds each of these terms: `python findable.py build/docs/searchindex.js`.

A term is found if the search box lists the page that explains it before pages that only use the word: that is so for
an entry of the index (a term of the glossary is one), the name of an object, and a title.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TERMS = (
    *("drop", "timeout", "back-pressure", "leak", "fork", "thread", "copy", "GRO", "GSO", "nmbclusters", "NoBufs"),
    *("m_pullup", "mbuf", "cluster", "zone", "keg", "slab", "bucket", "packet header", "ext", "M_EXTPG", "head"),
    *("chain", "packet", "zero-copy", "M_NOWAIT", "ENOBUFS", "netstat", "sysctl", "debugnet"),
    *("memory limit", "close", "reference cycle", "backpressure", "asyncio", "uvloop", "trio", "budget", "metrics"),
    *("slow reader", "timestamp", "refused", "MTU", "EMSGSIZE", "ECN", "STARTTLS", "error_received", "peer"),
)


def missing(index: str) -> list[str]:
    """The terms that aren't an entry, an object or a title of an index that Sphinx has written."""
    parts = json.loads(index[index.index("{") : index.rindex("}") + 1])
    known = {*parts["indexentries"], *(title.lower() for title in parts["alltitles"])}
    for prefix, objects in parts["objects"].items():
        for entry in objects:
            name = entry[-1] if isinstance(entry, list) else entry
            known |= {name.lower(), f"{prefix}.{name}".lower()}
    return [term for term in TERMS if term.lower() not in known]


if __name__ == "__main__":
    terms = missing(Path(sys.argv[1]).read_text("utf-8"))
    sys.exit(f"no page explains {', '.join(terms)}" if terms else 0)
