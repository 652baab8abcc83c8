"""Check the wheel in a folder: its files, its version, its links.

python .ci/check_wheel.py dist
"""

from __future__ import annotations

import re
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def problems(wheel: Path) -> list[str]:
    """One sentence for each thing that is wrong with a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        fields = Parser().parsestr(archive.read(metadata).decode())
    info = metadata.split("/")[0]
    found = [f"{name} does not belong to the wheel." for name in names if _is_foreign(name, info)]
    sources = {
        str(path.relative_to(ROOT / "src")) for path in (ROOT / "src" / "onefold").rglob("*.py")
    }
    found += [f"{name} is missing." for name in sorted(sources - set(names))]
    if "onefold/py.typed" not in names:
        found.append("onefold/py.typed is missing, so that types are not seen.")
    if not any(name.startswith(info) and name.endswith("LICENSE") for name in names):
        found.append("The licence is missing.")
    text = (ROOT / "src" / "onefold" / "_version.py").read_text()
    version = re.findall(r'__version__ = "(.+)"', text)[0]
    if fields["Version"] != version:
        found.append(f"The version is {fields['Version']}, and _version.py says {version}.")
    for link in fields.get_all("Project-URL", []):
        if not re.fullmatch(r"[^,]+, https?://\S+", link):
            found.append(f"The link '{link}' is no URL.")
    return found


def _is_foreign(name: str, info: str) -> bool:
    return not name.startswith(("onefold/", f"{info}/")) or "__pycache__" in name


def main() -> None:
    """Print the problems of every wheel in the folder; exit with 1 if there is one."""
    wheels = sorted(Path(sys.argv[1]).glob("*.whl"))
    if not wheels:
        sys.exit(f"There is no wheel in {sys.argv[1]}; build one with: python -m build.")
    found = [f"{wheel.name}: {text}" for wheel in wheels for text in problems(wheel)]
    print("\n".join(found) or f"{', '.join(wheel.name for wheel in wheels)}: nothing is wrong.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
