"""The logger of the package is shown on standard error if that is asked for, and only then."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

INSPECT = ["inspect", "digits?width=4", "--shape", "1,8,8"]


@pytest.mark.parametrize(("level", "shown"), [("info", True), ("warning", False)])
def test_phases_and_their_seconds(onefold: Callable, level: str, shown: bool) -> None:
    done = onefold("--log-level", level, *INSPECT)
    assert done.status == 0, done.err
    assert ("Tracing the network: " in done.err) == shown
    handlers = logging.getLogger("onefold").handlers
    assert [one for one in handlers if isinstance(one, logging.StreamHandler)] == []
    assert "Tracing" not in onefold(*INSPECT).err


def test_a_level_that_there_is_not(onefold: Callable) -> None:
    assert "'debug', 'info'" in onefold("--log-level", "loud", *INSPECT).err
