"""The stored catalogue holds what the commands and the registries say."""

from __future__ import annotations

import subprocess
import sys

import pytest

from onefold.cli import DOCUMENTS
from onefold.cli.catalogue import FILE, catalogue
from onefold.documents.options import Option, kinds_of

CURRENT = "from onefold.cli.catalogue import current; print(current(), end='')"


def test_the_file_is_up_to_date() -> None:
    """In a process of its own, as other tests register methods in this one."""
    ran = subprocess.run([sys.executable, "-c", CURRENT], capture_output=True, check=True)
    assert ran.stdout.decode() == FILE.read_text(encoding="utf-8"), (
        "write it again: python -m onefold.cli.catalogue"
    )


def option(command: str, name: str) -> Option:
    return next(one for one in catalogue().commands[command].options if one.name == name)


def test_options_are_read_as_they_were_written() -> None:
    assert set(catalogue().commands) == set(DOCUMENTS)
    align = option("merge", "align")
    assert (align.keys, align.family) == (("align", "name"), "matcher")
    assert {"cca", "permutation", "none"} <= set(align.choices)
    assert option("merge", "split").choices == ("train", "test")
    assert option("merge", "samples").limits == {"ge": 1}
    assert option("merge", "members").is_file
    assert option("merge", "members").flag.metavar
    assert option("merge", "output").flag.short == "-o"
    assert not option("merge", "keys").is_file


@pytest.mark.parametrize("command", DOCUMENTS)
def test_every_option_has_one_type_and_a_help(command: str) -> None:
    for one in catalogue().commands[command].options:
        assert one.help
        assert kinds_of(one.annotation)


def test_methods_have_their_summary_and_text() -> None:
    cca = next(entry for entry in catalogue().methods["matcher"] if entry.name == "cca")
    assert cca.summary.startswith("Canonical correlation")
    assert "regularization" in str(cca.value)
