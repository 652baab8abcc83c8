"""Names of models by which random masks are seeded: the ends of their paths.

A model is named by the shortest end of its path that no other model of the document has. So folders
may move together, or be named from elsewhere, and the masks stay.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable


def seed_names(models: Iterable[str]) -> dict[str, str]:
    """Model, as the document names it -> the shortest end of its path that is its own.

    Models whose paths have the same parts keep their whole names.

    Args:
        models: paths or names of the models of one document; each counts once.
    """
    parts = {model: _parts(model) for model in dict.fromkeys(models)}
    ends = Counter(parts_[at:] for parts_ in parts.values() for at in range(len(parts_)))
    return {model: _own_end(model, own, ends) for model, own in parts.items()}


def _own_end(model: str, parts: tuple[str, ...], ends: Counter[tuple[str, ...]]) -> str:
    for at in reversed(range(len(parts))):
        if ends[parts[at:]] == 1:
            return "/".join(parts[at:])
    return model


def _parts(model: str) -> tuple[str, ...]:
    """The parts of a path, whatever separates them."""
    return tuple(part for part in re.split(r"[/\\]+", model) if part not in ("", "."))
