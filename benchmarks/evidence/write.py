"""Write all tables of the documents anew from the results of the benchmarks.

python benchmarks/evidence/write.py            # rewrites README.md and the pages of docs/
python benchmarks/evidence/write.py --check    # writes nothing; names the pages that would change
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.evidence.markers import rewritten
from benchmarks.evidence.registry import EvidenceError

ROOT = Path(__file__).resolve().parents[2]


def pages(root: Path) -> Iterator[Path]:
    """README.md and the pages of docs/, those that are built left out."""
    yield root / "README.md"
    for path in sorted((root / "docs").rglob("*.md")):
        if not any(part.startswith("_") for part in path.relative_to(root).parts):
            yield path


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """The exit code: 1 where --check found a difference, 2 where a table cannot be written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    check = parser.parse_args(argv).check
    changed = []
    try:
        for path in pages(root):
            text = path.read_text()
            anew = rewritten(text, root, str(path.relative_to(root)))
            if anew != text:
                changed.append(path.relative_to(root))
                if not check:
                    path.write_text(anew)
    except EvidenceError as error:
        print(error, file=sys.stderr)
        return 2
    for name in changed:
        print(f"{name} {'would change' if check else 'written'}")
    if check and changed:
        print("Run python benchmarks/evidence/write.py and commit the pages.")
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
