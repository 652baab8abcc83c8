"""Complaint 20 of users of mergekit: what it takes to install, and to import.

Source: the issues of github.com/arcee-ai/mergekit; the numbers stand with each test.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tiny_checkpoints as tiny
from fine_tunes import family, ties, written

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

requirements = pytest.importorskip("packaging.requirements")

# Releases of November 2026 or before that other packages hold people at, and later ones.
RELEASES = {
    "torch": ("2.6.0", "2.14.1", "3.0"),
    "numpy": ("1.26.4", "2.4.0", "3.0"),
    "scipy": ("1.11.4", "1.17.0"),
    "safetensors": ("0.4.3", "0.5.3", "0.7.0", "1.0"),
    "pydantic": ("2.10.6", "2.13.0", "3.0"),
    "pyyaml": ("6.0", "7.0"),
    "typer": ("0.12.0", "1.0"),
    "rich": ("13.0", "15.0"),
    "transformers": ("4.45.0", "4.57.6", "5.24.0"),
    "tokenizers": ("0.20.0", "0.22.2", "1.0"),
    "accelerate": ("1.0.0", "1.14.0", "2.0"),
}
# What a merge of checkpoints must not need: with these mergekit's pins break other packages.
NEEDLESS = (
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "huggingface_hub",
    "immutables",
    "ray",
)


def required(root: Path) -> dict[str, list[requirements.Requirement]]:
    """What the project file requires, by the name of the extra; "" stands for the core."""
    with open(root / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    listed = {"": project["dependencies"], **project["optional-dependencies"]}
    return {
        name: [requirements.Requirement(text) for text in texts] for name, texts in listed.items()
    }


# 681, 321, 370, 122
def test_the_core_pins_nothing(root: Path) -> None:
    """Complaint 20: exact versions downgrade what is installed."""
    for one in required(root)[""]:
        operators = {part.operator for part in one.specifier}
        assert operators <= {">="}, f"{one} holds people at a release"
        for release in RELEASES[one.name.lower()]:
            assert one.specifier.contains(release), f"{one} excludes {release}"


# 681, 321, 370, 122
@pytest.mark.parametrize("extra", ["hf", "train", "vision", "all", "plots"])
def test_extras_exclude_no_release_from_their_least_on(root: Path, extra: str) -> None:
    """Complaint 20: optional packages hold people at a release as well."""
    for one in required(root)[extra]:
        assert all(part.operator == ">=" for part in one.specifier), str(one)
        for release in RELEASES.get(one.name.lower(), ()):
            assert one.specifier.contains(release), f"{one} excludes {release}"


ALONE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
import onefold
made = onefold.merge_checkpoints({document!r}, {out!r})
print(made.merged)
"""


# 122, 321
def test_a_merge_needs_none_of_the_packages_that_are_pinned_elsewhere(
    root: Path, tmp_path: Path
) -> None:
    """Complaint 20: a merge of files needs the whole stack of transformers, at one version."""
    paths = family(tmp_path, tiny.llama)
    document = written(tmp_path / "c.yml", ties(paths))
    code = ALONE.format(names=NEEDLESS, document=str(document), out=str(tmp_path / "o"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(tiny.stored(tmp_path / "o"))


# 681
def test_the_command_answers_without_the_packages_that_networks_need(
    root: Path, tmp_path: Path
) -> None:
    """Complaint 20: the command fails on import with its own pinned packages."""
    paths = family(tmp_path, tiny.llama)
    document = written(tmp_path / "c.yml", ties(paths))
    code = (
        "import sys\nfrom onefold.cli import run\n"
        f"status = run(['merge', {str(document)!r}, '-o', {str(tmp_path / 'o')!r}, '--dry-run'])\n"
        f"heavy = set(sys.modules) & {{'torch', *{NEEDLESS}}}\n"
        "sys.exit(status or (f'{heavy} were imported' if heavy else 0))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    assert "Would merge" in done.stdout + done.stderr
