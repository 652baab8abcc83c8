"""The commands and the code of the guide on the command line run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from guide_pages import commands, run_page

from onefold import progress

PAGE = "guides/command_line.md"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("onefold")
    handlers, level = list(root.handlers), ours.level
    yield
    root.handlers[:] = handlers
    ours.setLevel(level)
    progress.show(True)


def test_the_guide_on_the_command_line(root: Path, onefold: Callable) -> None:
    for _, *command in commands(root, PAGE):
        done = onefold(*command)
        assert done.status == 0, done.err
        assert done.out
    run_page(root, PAGE, {})
    assert not progress.is_shown()
