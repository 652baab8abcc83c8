"""The site: what its pages show runs, every public name is there, and every link leads somewhere.

The tests of the built site read docs/_build/html where it is newer than what it is built from, as
after `.ci/run` has built it. Otherwise they build it, into a folder of their own.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

import onefold as of

COLUMNS = 100
WORDS = 900
NEEDED = ("furo", "myst_parser", "sphinx", "sphinx_copybutton", "sphinx_design", "sphinx_gallery")
DOCS = Path(__file__).resolve().parents[2] / "docs"


def documents() -> list[Path]:
    """The Markdown documents of the repository: those of docs/ and those beside the README."""
    pages = [path for path in DOCS.rglob("*.md") if "_build" not in path.parts]
    return sorted([*pages, *DOCS.parent.glob("*.md")])


class Links(HTMLParser):
    """The links, the pictures and the anchors of a page, and the text of its titles."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.titles = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.titles += tag == "h1"
        for name in ("id", "name"):
            if found.get(name):
                self.anchors.add(str(found[name]))
        for name in ("href", "src"):
            if found.get(name) is not None and tag in {"a", "img", "link", "script"}:
                self.targets.append(str(found[name]))


def read(path: Path) -> Links:
    links = Links()
    links.feed(path.read_text(encoding="utf-8"))
    return links


@pytest.fixture(scope="session")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f'{missing[0]} is missing; the site is built with pip install -e ".[docs]".')
    built = root / "docs" / "_build" / "html"
    sources = [
        *documents(),
        *(root / "src" / "onefold").rglob("*.py"),
        *(path for path in DOCS.rglob("*.py") if "_build" not in path.parts),
    ]
    newest = max(path.stat().st_mtime for path in sources)
    stamp = built / "objects.inv"  # the last file of a build
    if stamp.exists() and stamp.stat().st_mtime > newest:
        return built
    out = tmp_path_factory.mktemp("site")
    quiet = ["-q", "-W", "--keep-going", "-b", "html", "-d", str(out / "doctrees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *quiet, str(DOCS), str(out / "html")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
    )
    assert done.returncode == 0, done.stderr
    return out / "html"


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    anchors = {name for page in (site / "reference").glob("*.html") for name in read(page).anchors}
    missing = [
        name for name in of.__all__ if name != "__version__" and f"onefold.{name}" not in anchors
    ]
    assert missing == []


PACKAGES = ("explore", "fold", "report", "result_reports")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_public_names_of_packages_are_in_the_reference(site: Path, package: str) -> None:
    anchors = {name for page in (site / "reference").glob("*.html") for name in read(page).anchors}
    public = importlib.import_module(f"onefold.{package}").__all__
    known = {anchor.rpartition(".")[2] for anchor in anchors if anchor.startswith("onefold.")}
    assert [name for name in public if name not in known] == []


def test_every_option_is_in_the_reference(site: Path, onefold: Callable) -> None:
    text = re.sub(r"<[^>]+>", "", (site / "reference" / "commands.html").read_text())
    from onefold.cli import COMMANDS

    for command in COMMANDS:
        options = re.findall(r"--[a-z][a-z-]+", onefold(command, "--help").out)
        assert [o for o in options if o not in text and o != "--help"] == [], command


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    """Links to pages, to anchors on them and to files; those to other sites are left out."""
    pages = {path: read(path) for path in site.rglob("*.html")}
    broken = []
    for page, links in pages.items():
        for target in links.targets:
            if re.match(r"[a-z]+:|//", target):
                continue
            name, anchor = urldefrag(unquote(target))
            path = (page.parent / name.split("?")[0]).resolve() if name else page
            if not path.exists():
                broken.append(f"{page.relative_to(site)}: {target}")
            elif anchor and path in pages and anchor not in pages[path].anchors:
                broken.append(f"{page.relative_to(site)}: {target} (no such anchor)")
    assert not broken, "\n".join(broken)


def test_no_page_loads_anything_from_a_network(site: Path) -> None:
    loaded = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=\"(?:https?:)?//"
        r"|<link[^>]*rel=\"(?:stylesheet|preload)\"[^>]*href=\"(?:https?:)?//"
    )
    assert [p.name for p in site.rglob("*.html") if loaded.search(p.read_text())] == []


def test_every_page_has_one_title(site: Path) -> None:
    own = [p for p in site.rglob("*.html") if p.name not in {"search.html", "genindex.html"}]
    assert [str(p.relative_to(site)) for p in own if read(p).titles != 1] == []


def test_every_guide_is_short() -> None:
    counts = {path.name: len(path.read_text().split()) for path in (DOCS / "guides").glob("*.md")}
    assert {name: count for name, count in counts.items() if count >= WORDS} == {}


def test_no_line_is_longer_than_a_screen() -> None:
    """But for tables, what a program has printed, and links."""
    long = []
    for path in documents():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            table = line.lstrip().startswith(("|", "<!-- table:")) or line.startswith("    ")
            if len(line) > COLUMNS and not table and not re.search(r"\]\(|https?://", line):
                long.append(f"{path.relative_to(DOCS.parent)}:{number}")
    assert not long, "\n".join(long)


def test_no_line_of_a_paragraph_is_read_as_something_else() -> None:
    """A line that begins with a percent sign is a comment, one with a dash and a number a list."""
    eaten = []
    for path in documents():
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for before, line in itertools.pairwise(text.splitlines()):
            prose = bool(before.strip()) and not before.lstrip().startswith(("-", "|", "#", "*"))
            if line.lstrip().startswith("%") or (prose and re.match(r"[-+*] \d", line)):
                eaten.append(f"{path.relative_to(DOCS.parent)}: {line.strip()}")
    assert not eaten, "\n".join(eaten)


def test_the_drawings_are_what_their_scripts_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "drawings"))
    drawn = importlib.import_module("draw").DRAWINGS
    stored = {path.name: path.read_text() for path in (DOCS / "drawings").glob("*.svg")}
    assert stored == {name: draw() for name, draw in drawn.items()}


def test_the_tree_knows_every_relation_that_the_rule_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from onefold.comparison import Relation

    monkeypatch.syspath_prepend(str(DOCS / "drawings"))
    tree = importlib.import_module("which_method")
    asked = [step.relation for step in tree.STEPS if step.relation]
    assert asked == [Relation.ORIGIN.value, Relation.UNTOLD.value, Relation.DIFFERENT.value]
    assert tree.LAST[-1] == Relation.SAME.value


def test_the_answers_of_the_tree_are_code_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """On members of one pass of training; what the answers are worth is tested elsewhere."""
    import torch
    from doc_pages import Small, pattern_images
    from torch.nn.functional import cross_entropy

    monkeypatch.syspath_prepend(str(DOCS / "drawings"))
    tree = importlib.import_module("which_method")
    training, held_out = pattern_images()
    torch.manual_seed(0)
    models = [Small(), Small()]
    for model in models:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for x, y in training:
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()
    names = {
        "onefold": of,
        "merge": of.merge,
        "fit_gates": of.fit_gates,
        "SoftMerge": of.SoftMerge,
        "model": Small(),
        "models": [model.eval() for model in models],
        "data": [x for x, _ in training],
        "labelled": list(held_out),
    }
    for code in [*(step.code for step in tree.STEPS), tree.LAST[1]]:
        eval(code.replace("merge(..., ", "merge(models, data, "), names)


def test_quickstart(
    root: Path, tmp_path: Path, onefold: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's code prints what it shows, up to rounding on another processor, and its commands
    run on what the code wrote.
    """
    page = (DOCS / "quickstart.md").read_text()
    network, *blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("network.py").write_text(network)
    Path("quickstart.py").write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "quickstart.py"],
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    printed = dict(re.findall(r"^(\w+) +([\d.]+)%$", done.stdout, flags=re.MULTILINE))
    shown = dict(re.findall(r"^    (\w+) +([\d.]+)%$", page, flags=re.MULTILINE))
    assert list(printed) == list(shown) == ["first", "second", "fold", "ensemble"]
    for name, percent in shown.items():
        assert float(printed[name]) == pytest.approx(float(percent), abs=3), name
    commands = re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)[-1].replace("\\\n", " ")
    for command in commands.splitlines():
        assert onefold(*command.split()[1:]).status == 0, command
    assert Path("folded.recipe.yaml").exists()


def test_the_gain_that_the_quickstart_names(root: Path) -> None:
    page = (DOCS / "quickstart.md").read_text()
    shown = {name: float(n) for name, n in re.findall(r"^    (\w+) +([\d.]+)%$", page, flags=re.M)}
    (gain,) = re.findall(r"The fold is ([\d.]+) points above the better member", page)
    assert float(gain) == pytest.approx(shown["fold"] - max(shown["first"], shown["second"]))
