"""Draw every picture of the site that is drawn by a script: `python docs/drawings/draw.py`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import how_it_works  # noqa: E402
import which_method  # noqa: E402

DRAWINGS = {
    "which_method.svg": which_method.draw,
    "symmetries.svg": how_it_works.symmetries,
    "alignment.svg": how_it_works.alignment,
    "least_squares.svg": how_it_works.least_squares,
}


def main() -> None:
    """Write the files beside this one."""
    for name, draw in DRAWINGS.items():
        (HERE / name).write_text(draw(), encoding="utf-8")
        print(HERE / name)


if __name__ == "__main__":
    main()
