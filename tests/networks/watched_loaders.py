"""Loaders that count what is taken from them, and settings that are recorded on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


class Watched(list):  # type: ignore[type-arg]
    """Batches that know how many examples the longest walk through them took."""

    def __init__(self, items: list[Any]) -> None:
        super().__init__(items)
        self.longest = 0

    def __iter__(self) -> Iterator[Any]:
        count = 0
        for item in super().__iter__():
            count += len(item[0]) if isinstance(item, tuple) else len(item)
            self.longest = max(self.longest, count)
            yield item


class Spy:
    """Calls what it stands for, and keeps the arguments and the examples of the data among them."""

    def __init__(self, inner: Callable[..., Any]) -> None:
        self.inner = inner
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        return self.inner(*args, **kwargs)


def size(data: Any) -> int:
    return sum(len(item[0]) if isinstance(item, tuple) else len(item) for item in data)


def facts_of(path: Path) -> dict[str, Any]:
    sections = json.loads(path.read_text())["sections"]
    blocks = next(section["blocks"] for section in sections if section["title"] == "What was done")
    return {
        name: value
        for block in blocks
        if block["kind"] == "facts"
        for name, value in block["facts"]
    }
