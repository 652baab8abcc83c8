"""A bar is shown on a terminal alone, and what it counts comes whole in any case."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest

from onefold import progress
from onefold.progress import bar, is_shown, length_of, show, track, waiting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ended() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.fixture(autouse=True)
def shown_again() -> Iterator[None]:
    yield
    show(True)


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error is a terminal on which everything is shown at once.

    This is no fixture, since what a fixture sets is replaced before the test begins.
    """
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "SOON", 0.0)
    monkeypatch.delenv("ONEFOLD_PROGRESS", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return stream


@pytest.mark.parametrize("stream", [None, io.StringIO(), ended()])
def test_without_a_terminal_it_is_silent(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(track([1, 2, 3], "reading")) == [1, 2, 3]
    with waiting("tracing"):
        pass
    if stream is not None and not stream.closed:
        assert stream.getvalue() == ""


def test_on_a_terminal_it_counts_and_says_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    seen = []
    for item in track([1, 2, 3], "reading"):
        with bar("training", 2) as work:
            work.step("loss 0.5")
            assert progress._display.progress is not None
            progress._display.progress.refresh()
        seen.append(item)
    assert seen == [1, 2, 3]
    text = terminal.getvalue()
    for part in ("reading", "training", "1/2", "loss 0.5", "0/3"):
        assert part in text
    assert progress._display.progress is None


def test_names_are_shown_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    with waiting("reading [red]a\x1b[2J"):
        pass
    assert "reading [red]a\\x1b[2J" in terminal.getvalue()


@pytest.mark.parametrize("value", ["0", "false", "OFF"])
def test_the_environment_switches_it_off(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    terminal = terminal_of(monkeypatch)
    monkeypatch.setenv("ONEFOLD_PROGRESS", value)
    assert list(track([1, 2], "reading")) == [1, 2]
    assert terminal.getvalue() == ""


def test_a_program_switches_it_off_and_on(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    show(False)
    assert list(track([1, 2], "reading")) == [1, 2]
    assert terminal.getvalue() == ""
    show()
    assert is_shown()


def test_work_that_fails_or_is_left_ends_its_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal_of(monkeypatch)
    with pytest.raises(ValueError, match="broken"), waiting("tracing"):
        raise ValueError("broken")
    for _ in track([1, 2], "reading"):
        break
    assert progress._display.progress is None


def test_what_was_waited_for_is_logged() -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("onefold")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with waiting("Tracing"):
            list(track([1], "reading"))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    told = [(record.levelname, record.getMessage().split(":")[0]) for record in records]
    assert told == [("DEBUG", "reading"), ("INFO", "Tracing")]


def test_a_length_that_is_not_known() -> None:
    assert length_of([1, 2]) == 2
    assert length_of(iter([1, 2])) is None
