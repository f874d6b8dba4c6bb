"""Links from code in a text to what it names: `m.pullup(n)` in a guide leads to the method in the reference.

Looks at every `literal`, in Markdown and in docstrings, and at the types of signatures. What it names must be clear: a
whole name, a class, function or constant of the package, a method or attribute of an object by the name that our texts
give it (`m`, `pool`), or a member of the class that is being described. Other code is left as it is.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

#: The classes of the objects that texts call by these names.
_OWNERS = MappingProxyType(
    {
        "m": "Mbuf",
        "n": "Mbuf",
        "pool": "Pool",
        "vm": "Vm",
        "pool.sysctl": "Sysctl",
        "pool.reserve": "Reserve",
        "reserve": "Reserve",
        "pool.drains": "Drains",
        "pool.reclaim": "Reclaim",
        "reclaim": "Reclaim",
        "pool.probes": "MbufProbes",
        "pool.vm": "Vm",
        "m.pkthdr": "PktHdr",
        "m.epg": "Epg",
        "m.ext": "Ext",
        "tag": "Tag",
    }
)
#: Texts of the project that aren't pages of the site; a link to one of them is only for readers of the sources.
_OUTSIDE = tuple(str(path.with_suffix("")) for path in Path(__file__).parents[2].glob("*.md"))

#: Where there are links already, or none are wanted.
_NO_LINKS = (nodes.reference, nodes.title, addnodes.desc_signature, addnodes.pending_xref)
_CODE = re.compile(r"(?P<name>[A-Za-z_][\w.]*)(?:\(.*\))?")


class Names:
    """Where each name is described: its document and anchor."""

    def __init__(self, env: BuildEnvironment) -> None:
        #: Document and anchor, by full name.
        self.places: dict[str, tuple[str, str]] = {}
        #: Full names by their last part: of classes, and of all that is clear without its class.
        self.classes: dict[str, str] = {}
        self.short: dict[str, str] = {}
        for name, entry in env.domains.python_domain.objects.items():
            if entry.aliased:
                continue
            last = name.rpartition(".")[2]
            self.places[name] = (entry.docname, entry.node_id)
            if entry.objtype in ("class", "exception"):
                self.classes[last] = self.short[last] = name
            elif entry.objtype in ("data", "function") and (last != last.lower() or "_" in last):
                self.short[last] = name

    def find(self, name: str, cls: str) -> str | None:
        """The full name of what a text names; `cls` is the class that it describes."""
        owner, _, last = name.rpartition(".")
        if owner:
            owner = self.classes.get(_OWNERS.get(owner, owner), owner)
            candidates = [name, f"{owner}.{last}"]
        else:
            candidates = [f"{cls}.{name}", self.short.get(name, "")]
        return next((each for each in candidates if each in self.places), None)


class Links(SphinxPostTransform):
    """Makes a link of every literal that names something of the package, and of its classes in signatures."""

    #: Before Sphinx looks for types by the ends of their names, where `bytes` may be an attribute.
    default_priority = 5

    def run(self, **_: Any) -> None:
        names = Names(self.env)
        for node in list(self.document.findall(nodes.literal)):
            code = _CODE.fullmatch(node.astext())
            if code is None or node.get("ids") or _inside(node, _NO_LINKS):
                continue
            cls = _described(node, "class")
            found = names.find(code["name"], cls)
            if found is not None and found not in (cls, _described(node, "fullname")):
                node.replace_self(self.link(names, found, node.deepcopy()))
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node.get("refdomain") == "py" and "refspecific" in node and _inside(node, (addnodes.desc_signature,)):
                last = node["reftarget"].rpartition(".")[2]
                text = nodes.Text(last)
                node.replace_self(self.link(names, names.classes[last], text) if last in names.classes else text)
            elif node.get("refdomain") == "doc" and node["reftarget"] in _OUTSIDE:
                node.replace_self(node.children)

    def link(self, names: Names, found: str, shown: nodes.Node) -> nodes.reference:
        docname, anchor = names.places[found]
        return make_refnode(self.app.builder, self.env.docname, docname, anchor, shown, found)


def _inside(node: nodes.Node, kinds: tuple[type[nodes.Node], ...]) -> bool:
    parent = node.parent
    while parent is not None:
        if isinstance(parent, kinds):
            return True
        parent = parent.parent
    return False


def _described(node: nodes.Node, what: str) -> str:
    """The full name of the class, or of the object, in whose description a node is; empty if there is none."""
    parent = node.parent
    while parent is not None:
        if isinstance(parent, addnodes.desc) and parent["domain"] == "py":
            signature = parent[0]
            full = f"{signature.get('module') or ''}.{signature.get('fullname') or ''}"
            if what == "fullname" or parent["objtype"] in ("class", "exception"):
                return full
            if signature.get("class"):
                return f"{signature.get('module')}.{signature['class']}"
        parent = parent.parent
    return ""


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(Links)
    return {"parallel_read_safe": True}
