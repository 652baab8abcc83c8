"""An interrupt that comes while a destructor runs, which Python swallows, still ends a command."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from onefold import cli
from onefold.cli.interrupts import SOON, kept_interrupts


class Interrupted:
    """An object in whose destructor an interrupt comes."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


class Failing:
    def __del__(self) -> None:
        raise ValueError("of a destructor")


@pytest.fixture(autouse=True)
def default_handler() -> Iterator[None]:
    """The handler of Python, which a process in the background does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_swallowed_interrupt_is_raised_again(capsys: pytest.CaptureFixture[str]) -> None:
    def block() -> None:
        with kept_interrupts():
            Interrupted()
            time.sleep(20)

    with pytest.raises(KeyboardInterrupt):
        block()
    assert not capsys.readouterr().err


def test_it_is_not_raised_when_all_is_done() -> None:
    hook = sys.unraisablehook
    with kept_interrupts():
        Interrupted()
    time.sleep(5 * SOON)
    assert sys.unraisablehook is hook


def test_another_error_of_a_destructor_is_told_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda one: told.append(str(one.exc_value)))
    with kept_interrupts():
        Failing()
    assert told == ["of a destructor"]


def test_a_command_is_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(*_: Any, **__: Any) -> int:
        Interrupted()
        time.sleep(20)
        return 0

    monkeypatch.setattr(cli, "app", slow)
    assert cli.run(["methods"]) == 130
    said = capsys.readouterr().err
    assert said == "error: interrupted; no output was written.\n"
