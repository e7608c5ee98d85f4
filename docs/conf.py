"""Settings of the documentation site: `make docs` builds it with Sphinx, and every warning is an error."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "kras"
author = "the kras contributors"
release = metadata.version("kras")
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "made"]

exclude_patterns = ["_build", "_ext", "_static"]

# Markdown: links to headings are those of GitHub, checked like links to pages.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"  # the notebook has its outputs: `make notebook`
highlight_language = "none"
smartquotes = False  # it makes one dash of `--option`

# The API reference. Docstrings are plain text that sets names in single backquotes.
default_role = "code"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
nitpicky = True
# Every name that `kras_plugins` gives must be on the page; what is not public, or not ours, is on no page here.
nitpick_ignore_regex = [("py:.*", r"(?!kras_plugins\.\w+$).*")]

html_theme = "furo"
html_title = f"kras {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
