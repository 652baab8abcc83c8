"""The gallery: its stored output is of the present scripts, small and readable, and three of the
scripts run and show what their pages say.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "docs" / "gallery"
SCRIPTS = sorted(p for p in (ROOT / "examples").glob("*.py") if p.stem != "run_all")
PICTURE, FOLDER = 60_000, 3_000_000  # bytes
AGAIN = "run `python examples/run_all.py` and commit docs/gallery"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_stored_output_is_of_this_script(script: Path) -> None:
    stored = STORED / f"{script.name}.md5"
    assert stored.exists(), f"{script.name} has no stored output; {AGAIN}"
    now = hashlib.md5(script.read_bytes()).hexdigest()
    assert stored.read_text() == now, f"{script.name} changed since its output was stored; {AGAIN}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_page_is_complete(script: Path) -> None:
    page = (STORED / script.name).with_suffix(".rst").read_text()
    assert "Traceback" not in page
    assert "sphx-glr-script-out" in page
    pictures = re.findall(r"\.\. image-sg:: /gallery/(\S+)\n\s+:alt: (.*)", page)
    assert pictures, "a page shows a figure"
    for name, alternative in pictures:
        assert len(alternative.split()) > 3, f"{name} needs a title that says what it shows"
        assert (STORED / name).stat().st_size < PICTURE, name
    notebook = json.loads((STORED / script.name).with_suffix(".ipynb").read_text())
    assert any(cell["cell_type"] == "code" for cell in notebook["cells"])
    assert (STORED / script.name).with_suffix(".zip").exists()


def test_nothing_stored_is_large_or_left_over() -> None:
    files = [path for path in STORED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < FOLDER
    stems = {script.stem for script in SCRIPTS}
    owners = {p.name.split(".")[0] for p in files if p.suffix in {".rst", ".ipynb", ".zip", ".md5"}}
    assert owners - {"index"} == stems
    pages = "".join(path.read_text() for path in STORED.glob("*.rst"))
    pictures = {path.name for path in files if path.suffix == ".png"}
    assert {name for name in pictures if name not in pages} == set()


def test_no_page_names_a_place_on_a_machine() -> None:
    for path in STORED.glob("*.rst"):
        assert not re.search(r"(^|[\s\"'])/(home|tmp|usr|opt|root|work)/", path.read_text()), path


def test_every_script_has_its_place_in_the_order() -> None:
    sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
    try:
        from gallery_settings import ORDER
    finally:
        sys.path.pop(0)
    assert sorted(ORDER) == [script.stem for script in SCRIPTS]


def percentages(name: str, folder: Path) -> dict[str, float]:
    """What a script prints as `name   12.3 %`, after it ran in a folder of its own."""
    pytest.importorskip("sklearn")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "MPLBACKEND": "agg",
        "ONEFOLD_PROGRESS": "0",
    }
    command = [sys.executable, "-W", "error::UserWarning", str(ROOT / "examples" / f"{name}.py")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(folder.iterdir()), "a script leaves no file behind"
    rows = re.findall(r"^(\S.*?)\s+(\d+\.\d) %", done.stdout, flags=re.MULTILINE)
    return {row: float(value) for row, value in rows}


@pytest.mark.slow
def test_two_hospitals(tmp_path: Path) -> None:
    found = percentages("two_hospitals", tmp_path)
    best = max(found["hospital A"], found["hospital B"])
    assert found["least squares"] > best + 5
    assert found["the default"] > best + 5
    assert found["plain average"] < best + 5
    assert found["ensemble of both"] - found["least squares"] < 5


@pytest.mark.slow
def test_cross_validation(tmp_path: Path) -> None:
    found = percentages("cross_validation", tmp_path)
    mean = sum(found[f"member {k}"] for k in range(5)) / 5
    assert found["least squares"] > mean
    assert abs(found["ensemble of five"] - found["least squares"]) < 2
    assert found["average"] < found["least squares"]


@pytest.mark.slow
def test_five_seeds(tmp_path: Path) -> None:
    found = percentages("five_seeds", tmp_path)
    members = [found[f"seed {k}"] for k in range(5)]
    assert found["the default"] in members
    assert found["average, as they are"] < min(members) - 20
    assert abs(found["the default, polished"] - found["ensemble of five"]) < 3
