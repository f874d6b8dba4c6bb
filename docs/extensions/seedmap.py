"""The directive `seed-map` (reStructuredText): docs/seed-map.toml as a table with a box to filter it."""

from __future__ import annotations

import tomllib

from docutils import nodes
from public import DOCS
from reference import Described, escaped
from sphinx.application import Sphinx

_BOX = """<p class="filter"><label for="filter">Filter</label>
<input id="filter" type="search" placeholder="m_pullup, sysctl, cluster ..." autocomplete="off">
<span id="filter-count" role="status"></span></p>"""


class SeedMap(Described):
    """A row for each of the kernel's names: what it is called here, what it does, and how it differs."""

    def run(self) -> list[nodes.Node]:
        entries = tomllib.loads((DOCS / "seed-map.toml").read_text("utf-8"))["entry"]
        lines = [".. list-table::", "   :header-rows: 1", "   :class: seed-map", "   :widths: 24 30 46", ""]
        rows = [("FreeBSD", "here", "what it does"), *map(_row, entries)]
        for row in rows:
            lines += [f"   {'*' if at == 0 else ' '} - {cell}" for at, cell in enumerate(row)]
        return [nodes.raw("", _BOX, format="html"), *self.parse(lines)]


def _row(entry: dict[str, str]) -> tuple[str, ...]:
    module, _, name = entry.get("target", entry.get("planned", "")).partition(":")
    here = f"``{name or module}``"
    if name:
        here += f" in {escaped(module)}"
    if entry["state"] != "built":
        here += " (not there yet)"
    differs = f" *Differs:* {escaped(entry['differs'])}" if "differs" in entry else ""
    return f"``{entry['kernel']}`` ({entry['kind']})", here, f"{escaped(entry['says'])}{differs}"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("seed-map", SeedMap)
    return {"parallel_read_safe": True}
