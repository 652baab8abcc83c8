"""A shell completes commands, options and names, without torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ASK = "import sys; from onefold.__main__ import main\ntry: main()\nfinally: {check}"
CHECK = "assert 'torch' not in sys.modules"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("onefold me", ["merge", "methods"]),
        ("onefold merge --ali", ["--align", "--alignment"]),
        ("onefold merge a.safetensors --align permu", ["permutation"]),
        ("onefold eval a.safetensors --split ", ["train", "test"]),
        ("onefold merge --use missing.py --align cc", ["cca"]),  # the file is not run
    ],
)
def test_what_is_offered(line: str, found: list[str]) -> None:
    words = line.split(" ")
    environment = {
        **os.environ,
        "_ONEFOLD_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    program = [sys.executable, "-c", ASK.format(check=CHECK)]
    ran = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    assert ran.stdout.split() == found
