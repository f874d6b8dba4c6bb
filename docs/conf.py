"""The documentation site: see `make docs`. The sources are imported uncompiled, with their signatures."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "docs" / "extensions")]

project = "mbuf"
version = release = re.findall(r'^__version__ = "(.*)"', (ROOT / "src/mbuf/__init__.py").read_text("utf-8"), re.M)[0]
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
