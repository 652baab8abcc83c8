"""Packages of loops that are missing, or that cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tvshim  # noqa: F401

import onefold.integrations
from onefold.errors import SettingError
from onefold.integrations.packages import loop_package

WITHOUT = """
import sys
for name in {names}:
    sys.modules[name] = None  # every import of it fails
from onefold.errors import SettingError
import onefold.integrations.{module} as module
try:
    module.SubspaceCallback({arguments})
except SettingError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("module", "names", "arguments", "install"),
    [
        ("lightning", ["pytorch_lightning", "lightning"], "", 'pip install "onefold[lightning]"'),
        ("transformers", ["transformers"], "None", 'pip install "onefold[hf]"'),
    ],
)
def test_a_missing_package_says_what_to_install(
    root: Path, module: str, names: list[str], arguments: str, install: str
) -> None:
    code = WITHOUT.format(names=names, module=module, arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert install in done.stdout
    assert done.stdout.startswith("Callbacks for ")


def test_importing_the_package_imports_no_loop(root: Path) -> None:
    code = "import sys, onefold.integrations; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
    )
    assert not {"pytorch_lightning", "lightning", "transformers"} & set(done.stdout.split())


def test_one_of_two_packages_is_enough() -> None:
    assert [p.__name__ for p in loop_package(("json", "absent_one"), "x", "Calls")] == ["json"]
    with pytest.raises(SettingError, match=r"Calls need the package absent_one or absent_two; "):
        loop_package(("absent_one", "absent_two"), "x", "Calls")


def test_a_package_that_breaks_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_one.py").write_text("raise RuntimeError('operator is missing')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SettingError, match=r"broken_one: operator is missing.*fit this torch"):
        loop_package(("broken_one",), "x", "Calls")


def test_the_modules_of_loops_are_there_after_a_bare_import() -> None:
    pytest.importorskip("pytorch_lightning")
    pytest.importorskip("transformers")
    for module in ("lightning", "transformers"):
        assert callable(getattr(onefold.integrations, module).SubspaceCallback)
    with pytest.raises(AttributeError, match=r"'onefold\.integrations' has no attribute"):
        getattr(onefold.integrations, "other")  # noqa: B009
