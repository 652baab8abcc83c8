"""How the vocabularies of several models differ, in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from onefold.checkpoints.document import Reference
from onefold.checkpoints.vocabulary.content import Vocabulary
from onefold.printable import counted

SHOWN = 3  # tokens that a sentence names


def difference(vocabularies: Mapping[Reference, Vocabulary]) -> str:
    """How the tokens of the models differ from those of the first; "" if they do not.

    Args:
        vocabularies: those of the models, the base first.
    """
    pairs = list(vocabularies.items())
    if not pairs:
        return ""
    first, reference = pairs[0]
    for model, one in pairs[1:]:
        if one.tokens is reference.tokens or one.tokens == reference.tokens:
            continue
        more = [token for token in one.tokens if token not in reference.tokens]
        fewer = [token for token in reference.tokens if token not in one.tokens]
        moved = [
            token
            for token, number in one.tokens.items()
            if reference.tokens.get(token, number) != number
        ]
        parts = []
        if more:
            parts.append(f"{model} alone has {_listed(more)}")
        if fewer:
            parts.append(f"{first} alone has {_listed(fewer)}")
        if moved:
            parts.append(f"{_listed(moved)} with other numbers")
        return (
            f"The tokenizers of {first} and {model} differ in"
            f" {counted(len(more) + len(fewer) + len(moved), 'token')} ({'; '.join(parts)})"
        )
    return ""


def named(tokens: Iterable[str]) -> str:
    """Some tokens in a sentence, shortened to the first few."""
    found = list(tokens)
    text = ", ".join(repr(one[:40]) for one in found[:SHOWN])
    return f"{text}, ..." if len(found) > SHOWN else text


def _listed(tokens: list[str]) -> str:
    return f"{len(tokens):,}: {named(tokens)}"
