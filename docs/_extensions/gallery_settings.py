"""Settings of the gallery: scripts in examples/, their stored output in docs/gallery.

A build of the site runs no script: it shows what is stored. `python examples/run_all.py` runs the
scripts that changed since their output was stored. So does `ONEFOLD_RUN_GALLERY=1` in front of the
build.
"""

from __future__ import annotations

import os
from typing import Any

# The order of the pages. Scripts that are not named come last.
ORDER = (
    "two_hospitals",
    "two_plants",
    "two_fine_tunes",
    "cross_validation",
    "five_seeds",
    "width_dial",
    "text_classifier",
    "policy_seeds",
    "poisoned_member",
    "subspace_walk",
    "persistent_rounds",
    "rounds_on_digits",
    "lightning_loop",
    "transformers_loop",
)


class PageOrder:
    """The sort key of a script, by ORDER and then by name."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, filename: str) -> tuple[int, str]:
        """The key."""
        stem = filename.removesuffix(".py")
        return (ORDER.index(stem) if stem in ORDER else len(ORDER), stem)

    def __repr__(self) -> str:
        return "PageOrder"


def plain_figures(settings: dict[str, Any], filename: str) -> None:
    """Figures of one size, which a phone shows whole, on white in light and in dark pages."""
    import matplotlib.pyplot as plt

    plt.rcdefaults()
    plt.rcParams.update(
        {
            "figure.figsize": (6.4, 3.6),
            "figure.dpi": 130,
            "font.size": 11,
            "axes.titlesize": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )


sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"run_all\.py$",
    "plot_gallery": os.environ.get("ONEFOLD_RUN_GALLERY") == "1",
    "within_subsection_order": PageOrder,
    "reset_modules": ("matplotlib", plain_figures),
    "capture_repr": (),
    "download_all_examples": False,
    "write_computation_times": False,
    "min_reported_time": 3600,  # seconds say more of the machine than of the script
    "show_signature": False,
    "show_memory": False,
    "remove_config_comments": True,
}
