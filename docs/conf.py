"""Settings of the documentation site.

    pip install -c constraints.txt -e ".[docs]"
    sphinx-build -W -b html docs docs/_build/html

Nothing is loaded from a network, neither when the site is built nor when it is read: formulas
become MathML, the search is Sphinx's own, and the pages bring their styles and scripts along.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent / "src")]

from onefold import __version__  # noqa: E402

try:  # a torchvision for another torch, as the tests may have it, would break Lightning's import
    sys.path.append(str(HERE.parent / "tests"))
    from tvshim import import_torchvision

    import_torchvision()
except ImportError:  # without pytest there is no such torchvision
    pass
finally:
    sys.path.pop()

# Pages of a command's options are the same whatever terminal builds them.
os.environ.update(COLUMNS="100", NO_COLOR="1")

project = "onefold"
author = "The onefold authors"
project_copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    # Our own, in docs/_extensions.
    "accessible",
    "command_reference",
    "inline_drawings",
    "markdown_docstrings",
    "mathml",
    "names",
    "names_or_code",
    "repository_links",
]
if (HERE.parent / "examples" / "GALLERY_HEADER.rst").exists():
    from gallery_settings import sphinx_gallery_conf  # noqa: F401

    extensions.append("sphinx_gallery.gen_gallery")

exclude_patterns = ["_build", "_extensions", "gallery/**/*.ipynb", "gallery/**/*.py"]
suppress_warnings = [
    "config.cache"  # settings of the gallery hold functions
]

# Sections list their pages in the order in which they are read, and any others behind them. A
# pattern that meets no page yet is no fault. Sphinx gives this warning no name to suppress it by.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(
    lambda record: getattr(record, "subtype", None) != "empty_glob"
)

# What the commands log while they are read is no message of the build.
logging.getLogger("onefold").setLevel(logging.WARNING)

# Markdown. Headings have anchors like those of code hosts: a link works here and there.
myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

# Docstrings: Google style, with Markdown's single backticks around code and names.
default_role = "name_or_code"
smartquotes = False  # they would change `--option` and "name" in help and docstrings
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
maximum_signature_line_length = 72
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = "onefold"
html_static_path = ["_static"]
html_css_files = ["onefold.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": False}
html_math_renderer = "mathml"
copybutton_exclude = ".linenos, .gp, .go"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
