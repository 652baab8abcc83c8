"""Check that no package falls below its floor of line coverage.

    coverage run --parallel-mode -m pytest -m "not data" && coverage combine
    python .ci/coverage_floors.py            a table; exit with 1 if a package is below its floor
    python .ci/coverage_floors.py weights    these packages alone

The floors were not measured: 60 is a first, cautious number for every package. The workflow `tests`
prints the coverage of each package. Raise its floor to two points below what is printed there.
"""

from __future__ import annotations

import contextlib
import io
import sys

from coverage import Coverage
from coverage.exceptions import NoDataError

# Percent of lines. "." stands for the modules beside the packages.
FLOORS: dict[str, float] = {
    ".": 60,
    "alignment": 60,
    "checkpoints": 60,
    "cli": 60,
    "comparison": 60,
    "demo": 60,
    "documents": 60,
    "ensemble": 60,
    "explore": 60,
    "fold": 60,
    "inference": 60,
    "integrations": 60,
    "measure": 60,
    "recipe": 60,
    "report": 60,
    "result_reports": 60,
    "sources": 60,
    "symmetry": 60,
    "weights": 60,
}


def covered(name: str) -> float | None:
    """Percent of the lines of a package that were run; None if nothing of it was."""
    coverage = Coverage()
    coverage.load()
    include = ["*/onefold/*.py"] if name == "." else [f"*/onefold/{name}/*.py"]
    # "*" of a pattern does not cross folders, so that "." takes the modules alone.
    if name != ".":
        include.append(f"*/onefold/{name}/**/*.py")
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            return coverage.report(include=include)
        except NoDataError:
            return None


def main() -> None:
    """Print coverage and floor of every package."""
    names = sys.argv[1:] or list(FLOORS)
    low = False
    print(f"{'package':12} {'covered':>8} {'floor':>6}")
    for name in names:
        percent = covered(name)
        below = percent is None or percent < FLOORS[name]
        low |= below
        shown = "none" if percent is None else f"{percent:.1f}"
        print(f"{name:12} {shown:>8} {FLOORS[name]:6.0f}{'  below its floor' * below}")
    sys.exit(low)


if __name__ == "__main__":
    main()
