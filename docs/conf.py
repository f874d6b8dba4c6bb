"""The documentation site: see `make docs`. The sources are imported uncompiled, with their signatures."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "docs" / "extensions")]

project = "mbuf"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "reference", "links", "commands", "seedmap"]
exclude_patterns = ["extensions"]

default_role = "code"
# Two hyphens are those of an option.
smartquotes = False
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
add_module_names = False

html_theme = "furo"
html_title = f"mbuf {release}"
html_static_path = ["static"]
html_css_files = ["style.css"]
html_js_files = [("filter.js", {"defer": "defer"})]
html_copy_source = False
html_show_copyright = False


def _existing(app, docname, source):
    """Leave out of the list of pages those that don't exist."""
    if docname == "index":
        text, toctree, names = source[0].rpartition("```{toctree}\n")
        kept = [line for line in names.splitlines() if line in app.env.found_docs or not line or line[0] in ":`"]
        source[0] = text + toctree + "\n".join(kept) + "\n"


def setup(app):
    app.connect("source-read", _existing)
