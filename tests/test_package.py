"""`import onefold` is cheap, and everything public is reached from it by its dotted name."""

from __future__ import annotations

import importlib
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import onefold

ROOT = Path(onefold.__file__).parent
PAGES = [*Path(__file__).parents[1].glob("docs/**/*.md"), Path(__file__).parents[1] / "README.md"]
NAMES = [
    "fold.polish",
    "symmetry.apply_maps",
    "symmetry.prune",
    "alignment.matchers",
    "sources.DiskMembers",
    "tasks.base.Tally",
    "inference.Output",
    "explore.persistent.kernels",
    "batches.Batch",
    "errors.DataError",
    "report.style",
    "recipe.Recipe",
]


def python(code: str) -> str:
    """What a new interpreter prints."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


# Every package has a process of its own, so that none is helped by another's imports.
EACH_ALONE = """
import os
import numpy, torch, torch.export  # what takes long
for names in {names!r}:
    child = os.fork()
    if child == 0:
        try:
            import onefold
            for name in names:
                eval(name)
        except AttributeError as error:
            print(error, flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, names
"""


def test_a_dotted_name_after_a_bare_import() -> None:
    python("import onefold; onefold.tasks.base.Tally; onefold.fold.polish")


LOOPS = ("onefold.integrations.lightning", "onefold.integrations.transformers")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_dotted_names_after_a_bare_import_those_of_the_documentation_too() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    found = set(re.findall(r"\bonefold(?:\.[A-Za-z_]+){2,}", text))
    # These import packages of others, of which tests/integrations knows the versions.
    found = {name for name in found if not name.startswith(LOOPS)}
    assert len(found) > 5
    names = sorted(found | {f"onefold.{name}" for name in NAMES})
    groups = itertools.groupby(names, lambda name: name.split(".")[1])
    python(EACH_ALONE.format(names=[list(group) for _, group in groups]))


def test_dir_lists_public_names_and_packages() -> None:
    names = dir(onefold)
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - {"__pycache__"} <= set(names)
    assert set(onefold.__all__) <= set(names)
    assert not [name for name in names if name.startswith("_") and name != "__version__"]
    for name in names:
        assert getattr(onefold, name) is not None


def test_the_import_brings_nothing_heavy_and_no_package() -> None:
    code = "import sys; import onefold; {more}print(*sys.modules)"
    for more, ours in (("", {"onefold", "onefold._version"}), ("dir(onefold); ", None)):
        found = set(python(code.format(more=more)).split())
        assert not found & {"torch", "numpy", "pydantic", "typer", "onefold.fold"}
        assert ours is None or {name for name in found if name.startswith("onefold")} == ours


def test_unknown_and_private_names_are_attribute_errors() -> None:
    for name in ("nothing", "_private", "measures", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"module 'onefold' has no attribute '{name}'"):
            getattr(onefold, name)


def test_no_package_hides_a_public_function() -> None:
    for name in dir(onefold):
        getattr(onefold, name)
    assert all(callable(getattr(onefold, n)) for n in onefold.__all__ if n != "__version__")


PACKAGES = sorted(
    ".".join(found.parent.relative_to(ROOT.parent).parts) for found in ROOT.rglob("*/__init__.py")
)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_has_the_name_of_a_public_function_or_object(package: str) -> None:
    """Whatever was imported before, a package's dotted name is the package."""
    outer, _, own = package.rpartition(".")
    importlib.import_module(package)
    parent = importlib.import_module(outer)
    assert own not in getattr(parent, "__all__", ())
    assert getattr(parent, own) is sys.modules[package]
