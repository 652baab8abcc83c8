"""What the logger `onefold` holds, on standard error, if --log-level asks for it."""

from __future__ import annotations

import logging
from typing import Literal

from onefold.printable import printable

Level = Literal["debug", "info", "warning"]
_handlers: list[logging.Handler] = []


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), lines=True)


def log_at(level: Level) -> None:
    """Show what is logged at this level and above, with the time."""
    end()
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("onefold")
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    _handlers.append(handler)


def end() -> None:
    """Show nothing more."""
    logger = logging.getLogger("onefold")
    while _handlers:
        logger.removeHandler(_handlers.pop())
        logger.setLevel(logging.NOTSET)
