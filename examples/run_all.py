"""Run the scripts of the gallery and store their output in docs/gallery.

    pip install -c constraints.txt -e ".[gallery]"
    python examples/run_all.py [--all]

Scripts whose stored output is of their present text are left, unless --all is given. A build of the
site runs no script: it shows what is stored.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STORED = ROOT / "docs" / "gallery"


def names() -> list[str]:
    """The scripts, without `.py`."""
    return sorted(
        path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "run_all"
    )


def clear(keep: list[str]) -> None:
    """Remove the stored output of scripts that are gone."""
    for path in [*STORED.glob("*"), *STORED.glob("images/**/*.png")]:
        owner = path.name.removeprefix("sphx_glr_").split(".")[0]
        if path.is_file() and owner != "index" and not owner.startswith(tuple(keep)):
            path.unlink()


def shrink() -> None:
    """Store pictures with a palette, which takes a third of the bytes."""
    from PIL import Image

    for path in STORED.glob("images/**/*.png"):
        with Image.open(path) as picture:
            if picture.mode != "P":
                picture.convert("RGB").quantize(128).save(path, optimize=True)


def main() -> None:
    """Run what has to be run, and say how long it took."""
    os.environ.update(ONEFOLD_RUN_GALLERY="1", MPLBACKEND="agg", ONEFOLD_PROGRESS="0")
    sys.path[:0] = [str(ROOT / "docs" / "_extensions"), str(ROOT / "src")]
    from gallery_settings import sphinx_gallery_conf
    from sphinx.application import Sphinx

    clear(names())
    settings = {
        **sphinx_gallery_conf,
        "plot_gallery": True,
        "abort_on_example_error": True,
        "run_stale_examples": "--all" in sys.argv[1:],
    }
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        # The scripts run when the application is made. Nothing is built.
        Sphinx(
            ROOT / "docs",
            None,
            Path(folder, "out"),
            Path(folder, "doctrees"),
            "dummy",
            confoverrides={
                "extensions": ["sphinx_gallery.gen_gallery"],
                "sphinx_gallery_conf": settings,
                "abort_on_example_error": True,
            },
            freshenv=True,
        )
    shrink()
    print(f"The gallery of {len(names())} scripts is stored: {time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    main()
