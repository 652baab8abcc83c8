"""A bar is shown on a terminal alone, and what it counts comes whole in any case."""

from __future__ import annotations

import io
import sys

import pytest

from onefold.progress import length_of, track


def ended() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, io.StringIO(), ended()])
def test_without_a_terminal_it_is_silent(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(track([1, 2, 3], "reading")) == [1, 2, 3]
    if stream is not None and not stream.closed:
        assert stream.getvalue() == ""


def test_a_length_that_is_not_known() -> None:
    assert length_of([1, 2]) == 2
    assert length_of(iter([1, 2])) is None
