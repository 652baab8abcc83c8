"""Ctrl-C while the program is still being imported: its status, one line, no traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Runs the program, and interrupts it as soon as a module is asked for.
PROGRAM = """
import importlib.abc, sys
module = sys.argv[1]
sys.argv[1:] = ["methods", "matcher"]
class Interrupts(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            raise KeyboardInterrupt
from onefold.__main__ import main
sys.meta_path.insert(0, Interrupts())
main()
"""


@pytest.mark.parametrize(
    "module", ["onefold.cli", "typer", "onefold.cli.console", "onefold.cli.methods", "torch"]
)
def test_an_interrupt_at_an_import_is_one_line(module: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, module], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 130
    assert ran.stderr.strip() == "error: interrupted; no output was written."


def test_the_package_is_a_program() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "onefold", "--version"], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0
    assert ran.stdout.startswith("onefold ")
