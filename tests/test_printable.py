"""Names are shown, and not obeyed."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefold.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("net.pt", "net.pt"),
        ("größe 数 🙂", "größe 数 🙂"),
        ("[red]$x$_1^2", "[red]$x$_1^2"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("a\x00b\x7f\x9b", r"a\x00b\x7f\x9b"),
        ("a\u202eb", r"a\u202eb"),
        (os.fsdecode(b"a\xff.pt"), r"a\udcff.pt"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_stay_where_there_are_lines() -> None:
    assert printable("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"


@given(st.text(st.characters(exclude_categories=())))
def test_every_text_can_be_printed_and_written(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()
    assert printable(shown) == shown
