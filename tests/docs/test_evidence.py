"""The tables of the documents are those that the results of the benchmarks give."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.evidence.markers import END, marked, rewritten, unmarked
from benchmarks.evidence.registry import EvidenceError, claim, claims, discover, renderers, table
from benchmarks.evidence.write import main, pages

COST = "benchmarks/results/default/cost.json"
COMMENT = f"<!-- table: what the default costs from {COST} -->"


def test_all_tables_are_as_written_anew(root: Path) -> None:
    for path in pages(root):
        name, text = str(path.relative_to(root)), path.read_text()
        anew = rewritten(text, root, name)
        assert anew == text, f"{name}: run python benchmarks/evidence/write.py"


def test_no_page_of_evidence_holds_a_table_of_figures_that_was_typed(root: Path) -> None:
    for path in sorted((root / "docs" / "evidence").glob("*.md")):
        lines = unmarked(path.read_text(), path.name)
        assert lines == [], f"{path.name}: rows without comments around them: {lines}"


def test_every_page_says_what_was_measured_what_that_says_and_how_to_do_it_again(
    root: Path,
) -> None:
    for path in sorted((root / "docs" / "evidence").glob("*.md")):
        if path.name != "index.md":
            text = " ".join(path.read_text().split())
            for part in ("here.** ", "**What that says.**", "## Run it again"):
                assert part in text, f"{path.name} lacks {part!r}"


def test_every_table_that_is_registered_stands_in_a_page(root: Path) -> None:
    shown = {one.name for path in pages(root) for one in marked(path.read_text(), path.name)}
    assert sorted(set(discover()) - shown) == []


def test_a_table_is_written_between_its_comments(root: Path) -> None:
    page = f"before\n\n{COMMENT}\nold\n{END}\n\nbehind\n"
    anew = rewritten(page, root, "page.md")
    assert anew.startswith(f"before\n\n{COMMENT}\n\n| network |")
    assert anew.endswith(f"|\n\n{END}\n\nbehind\n")
    assert "old" not in anew
    assert rewritten(anew, root, "page.md") == anew


def test_a_comment_may_be_broken_over_lines_and_name_several_files(root: Path) -> None:
    name = "of a test: two files"
    table(name)(lambda one, other: [f"{len(one)} and {len(other)}"])
    try:
        comment = f"<!-- table: of a test:\ntwo files from {COST},\n{COST} -->"
        count = len(json.loads((root / COST).read_text()))
        anew = rewritten(f"{comment}\n{END}", root, "page.md")
        assert anew == f"{comment}\n\n{count} and {count}\n\n{END}"
        with pytest.raises(EvidenceError, match="already"):
            table(name)
    finally:
        del renderers[name]


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (f"<!-- table: what the default costs -->\n{END}", "names no JSON"),
        (f"<!-- table: what the default costs from -->\n{END}", "names no JSON"),
        (f"<!-- table: no such table from {COST} -->\n{END}", "nothing draws"),
        (f"<!-- table: what the default costs from none.json -->\n{END}", "there is no none.json"),
        (f"<!-- table: overview from src -->\n{END}", "there is no src"),
        (f"<!-- table: what the default costs from README.md -->\n{END}", "there is no README.md"),
        (COMMENT, "needs its own"),
        (f"{COMMENT}\n{COMMENT}\n{END}\n{END}", "has no"),
        (END, "needs its own"),
    ],
)
def test_a_comment_that_is_not_as_it_should_be_is_refused(page: str, told: str, root: Path) -> None:
    with pytest.raises(EvidenceError, match=told):
        rewritten(page, root, "page.md")


def test_comments_in_code_are_no_tables(root: Path) -> None:
    page = f"```\n{COMMENT}\n```\n\n    {COMMENT}\n"
    assert rewritten(page, root, "page.md") == page


def test_claims_become_rows_of_the_overview(root: Path) -> None:
    discover()
    count = len(json.loads((root / COST).read_text()))
    claim("It is so", "default.md#run-it-again", "default/cost.json")(
        lambda one: f"{len(one)} of them"
    )
    try:
        page = f"<!-- table: overview from benchmarks/results -->\n{END}"
        row = f"| It is so | {count} of them | [The default](default.md#run-it-again) |"
        assert row in rewritten(page, root, "page.md")
    finally:
        claims.pop()


def test_every_page_of_the_overview_exists(root: Path) -> None:
    discover()
    folder = root / "docs" / "evidence"
    assert [one.page for one in claims if not (folder / one.page.split("#")[0]).exists()] == []


def test_rows_of_figures_without_comments_are_found() -> None:
    typed = "| way | accuracy |\n|---|---|\n| fold | 67.1 ± 0.2 |\n"
    words = "| way | what it does |\n|---|---|\n| fold | 3 in words |\n"
    assert unmarked(typed, "page.md") == [3]
    assert unmarked("| members | 2 | 4 |\n|---|---|---|\n", "page.md") == [1]
    assert unmarked("| way | what it does |\n|---|---|\n| fold | solves |\n", "page.md") == []
    assert unmarked(words, "page.md") == [3]
    assert unmarked(f"{COMMENT}\n{typed}{END}\n", "page.md") == []
    assert unmarked(f"```\n{typed}```\n", "page.md") == []


def test_the_command_writes_and_compares(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("nothing\n")
    page = tmp_path / "docs" / "page.md"
    page.write_text(f"{COMMENT}\n{END}\n")
    file = tmp_path / COST
    file.parent.mkdir(parents=True)
    file.write_text((root / COST).read_text())
    assert main(["--check"], tmp_path) == 1
    assert "docs/page.md would change" in capsys.readouterr().out
    assert main([], tmp_path) == 0
    assert "| network |" in page.read_text()
    assert main(["--check"], tmp_path) == 0
    file.unlink()
    assert main([], tmp_path) == 2
    assert "there is no" in capsys.readouterr().err


def test_the_command_runs_as_a_script(root: Path) -> None:
    command = [sys.executable, "benchmarks/evidence/write.py", "--check"]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
