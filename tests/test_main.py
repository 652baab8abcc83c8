"""Ctrl-C while the program is still being imported: its status, one line, no traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Runs the program, and interrupts it as soon as a module is asked for.
PROGRAM = """
import importlib.abc, sys
module = sys.argv.pop(1)
class Interrupts(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            raise KeyboardInterrupt
from onefold.__main__ import main
sys.meta_path.insert(0, Interrupts())
main()
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("onefold.cli", "methods matcher"),
        ("typer", "methods matcher"),
        ("onefold.cli.console", "methods matcher"),
        ("onefold.cli.methods", "methods matcher"),
        ("torch", "inspect digits --shape 1,8,8"),
    ],
)
def test_an_interrupt_at_an_import_is_one_line(module: str, arguments: str) -> None:
    program = [sys.executable, "-c", PROGRAM, module, *arguments.split()]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 130
    assert ran.stderr.strip() == "error: interrupted; no output was written."


def test_the_package_is_a_program() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "onefold", "--version"], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0
    assert ran.stdout.startswith("onefold ")
