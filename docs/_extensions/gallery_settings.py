"""Settings of the gallery: scripts in examples/, their stored output in docs/gallery.

A build of the site runs no script: it shows what is stored. `ONEFOLD_RUN_GALLERY=1` in front of the
build runs the scripts that changed since their output was stored.
"""

from __future__ import annotations

import os

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "plot_gallery": os.environ.get("ONEFOLD_RUN_GALLERY") == "1",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "write_computation_times": False,
    "show_signature": False,
    "show_memory": False,
    "remove_config_comments": True,
    "image_srcset": ["2x"],
}
